"""Slides of stained tissue of which every tile and every nucleus is known."""
