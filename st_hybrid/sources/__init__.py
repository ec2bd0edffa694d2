"""Where parallel rows come from."""
