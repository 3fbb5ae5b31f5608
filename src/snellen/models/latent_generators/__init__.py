"""Generators of images from a latent vector: frozen, differentiable, with a standard normal prior."""
