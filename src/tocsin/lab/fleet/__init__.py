"""A fleet of real Agents SDK agents, driven by fake models: three workflows and their traffic."""
