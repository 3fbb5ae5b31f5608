"""The experiment of PPAP."""
