"""`tocsin.yaml`: read, checked, and every problem told at once with where it is."""
