"""Recipes: what is trained differently, so that a classifier no longer has a problem."""
