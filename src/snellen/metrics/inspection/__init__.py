"""Looks into images and labels themselves: what is wrong with the data before any model is blamed."""
