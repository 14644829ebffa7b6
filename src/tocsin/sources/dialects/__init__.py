"""Raw OTLP spans -> Spans, whatever library wrote them: one file of tables per family."""
