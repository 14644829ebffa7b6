"""The server process: addresses, signals, and the parts wired together."""
