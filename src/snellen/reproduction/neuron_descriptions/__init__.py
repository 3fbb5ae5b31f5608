"""System 17: what is said of units of other networks, of planted ones, and what zeroing them changes."""
