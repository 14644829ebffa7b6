"""Hard limits as pure decisions: what a run may still use, and when it has to stop."""
