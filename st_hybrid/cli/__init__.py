"""Commands of ``st-hybrid``."""
