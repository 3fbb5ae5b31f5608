"""System 32, ProjectedEx: single style coordinates of a generator that move a classifier's output."""
