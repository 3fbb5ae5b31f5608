"""Frozen encoders of images and sentences, and the features they gave, kept on disk."""
