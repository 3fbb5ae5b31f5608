"""Soft label maps: a strong classifier's scores at each place of an image, kept sparsely, pooled for any crop."""
