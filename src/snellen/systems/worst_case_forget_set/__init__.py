"""Worst-case forget sets: the training images that are hardest to unlearn, and how unlearning methods do on them."""
