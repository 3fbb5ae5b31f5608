"""Sparse codes of text: an autoencoder on a text encoder's states, its features by concept, and edits that use them."""
