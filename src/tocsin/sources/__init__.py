"""Foreign telemetry in, `tocsin.model` records out."""
