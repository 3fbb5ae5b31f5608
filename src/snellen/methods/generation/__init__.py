"""Sampling from a generator, plain or steered by a classifier."""
