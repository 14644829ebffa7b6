"""From token usage to money."""
