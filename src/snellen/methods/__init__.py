"""Textbook methods, one file each: attacks, corruptions, explanations, generation, recipes, scans, smoothing."""
