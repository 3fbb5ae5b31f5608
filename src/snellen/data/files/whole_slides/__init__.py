"""Whole-slide images: tissue, tiles and thumbnails of files far larger than memory, read by OpenSlide."""
