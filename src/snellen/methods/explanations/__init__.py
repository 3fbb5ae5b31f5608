"""Explanations: which parts of an image a score rests on, and how far to believe the map."""
