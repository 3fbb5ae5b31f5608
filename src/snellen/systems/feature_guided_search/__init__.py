"""A search for small changes as a game of two: one player picks a feature of the image, the other pixels around it."""
