"""Adversarial AutoMixup: a classifier, and a generator that blends images to be hard for it."""
