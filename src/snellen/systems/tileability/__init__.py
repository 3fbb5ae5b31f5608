"""TexTile: how well a texture repeats side by side."""
