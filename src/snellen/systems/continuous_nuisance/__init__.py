"""Nuisances of any words in continuous strength: sliders of a generator, trajectories, their filter, what they show."""
