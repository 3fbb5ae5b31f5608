"""Treatments of a classifier that was audited: each begins from the weights that it has."""
