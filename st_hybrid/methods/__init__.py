"""Methods that stand beside hybrid batch training."""
