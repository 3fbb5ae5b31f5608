"""Pure functions from counts and scores to figures with intervals; sums merge over shards."""
