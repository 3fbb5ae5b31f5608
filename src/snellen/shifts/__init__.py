"""Shifts: the same images under a nuisance of continuous severity."""
