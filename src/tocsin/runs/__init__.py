"""Runs: how spans fold into them, what limits them, and what they cost in all."""
