"""Models that put an image into words, or answer a question about it."""
