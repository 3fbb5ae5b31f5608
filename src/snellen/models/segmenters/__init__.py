"""Models that find the pixels of one object."""
