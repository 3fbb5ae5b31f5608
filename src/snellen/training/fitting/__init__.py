"""Fitting a model to an image set: from images and a plan to an artifact."""
