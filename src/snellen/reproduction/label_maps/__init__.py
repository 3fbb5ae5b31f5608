"""The experiment of ReLabel."""
