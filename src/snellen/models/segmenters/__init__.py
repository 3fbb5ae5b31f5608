"""Models that tell which pixels belong to one object."""
