"""Pseudonyms for the names of images, patients and files."""
