"""`tocsin demo`: a fleet of real agents on a fake LLM, watched live in the terminal."""
