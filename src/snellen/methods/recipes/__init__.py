"""Recipes: how a classifier is trained so that it no longer has a problem."""
