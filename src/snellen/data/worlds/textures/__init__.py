"""Textures that repeat without a seam, and their twins that do not."""
