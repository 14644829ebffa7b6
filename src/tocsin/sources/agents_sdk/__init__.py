"""The OpenAI Agents SDK: what runs in the user's process, and how its spans are read."""
