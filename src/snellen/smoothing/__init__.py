"""Classifiers under noise: votes, bounds of their probabilities, and when enough has been drawn to decide."""
