"""What every part speaks: plain records, no I/O."""
