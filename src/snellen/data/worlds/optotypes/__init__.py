"""Scenes in two dimensions with all factors known."""
