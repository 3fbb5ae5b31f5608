"""Soft label maps: what a strong classifier says of each place of an image, kept sparsely, pooled for any crop."""
