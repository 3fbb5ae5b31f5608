"""Short videos from a text, and from given frames (Z. Lin et al. 2024, STIV)."""
