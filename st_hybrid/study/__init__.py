"""Comparisons of training methods."""
