"""Signals of runs that go wrong without an error: pure, bounded, and the same for every source."""
