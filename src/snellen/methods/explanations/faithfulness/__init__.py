"""How far to believe a map: what the score does when parts of the image go, and what the map does when weights go."""
