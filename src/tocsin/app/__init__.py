"""Everything put together, for use inside the watched program."""
