"""Dialects of agent telemetry: a table for each family, and what reads them."""
