"""Practice ground: a fake LLM server, agent fleets, incidents and drills."""
