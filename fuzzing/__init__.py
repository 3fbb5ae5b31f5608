"""Fuzzing of the loaders: see README.md here."""
