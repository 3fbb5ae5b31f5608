"""System 17: descriptions of units of other networks and of planted ones, and what zeroing them changes."""
