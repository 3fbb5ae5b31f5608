"""One attribute of a known object is changed, its pixels are not: its background, size, place or direction."""
