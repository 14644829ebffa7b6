"""`tocsin runs`: stored runs in the terminal."""
