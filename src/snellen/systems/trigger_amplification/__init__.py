"""Poisoned training data of diffusion models: what they make of it, and how it is found (Pan et al. 2024)."""
