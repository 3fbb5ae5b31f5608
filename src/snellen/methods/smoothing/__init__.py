"""Randomized smoothing: noisy votes, their bounds, certificates, and training under noise."""
