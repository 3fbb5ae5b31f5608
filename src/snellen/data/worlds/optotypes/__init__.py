"""Scenes in two dimensions of which every factor is known."""
