"""Whether parallel rows are what they seem, and what they share with evaluation sets."""
