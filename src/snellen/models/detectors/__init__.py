"""Models that find what a phrase names in an image, as boxes."""
