"""Textbook methods that remove what a classifier learned from some images: one file each."""
