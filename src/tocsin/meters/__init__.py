"""Metrics: declared once, counted in-process, shown in standard formats."""
