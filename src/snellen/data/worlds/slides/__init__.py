"""Slides of stained tissue with every tile and every nucleus known."""
