"""Scans: what is planted in a training set, seen through the classifier that was trained on it."""
