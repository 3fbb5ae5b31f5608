"""Attacks: search for a changed image on which the classifier fails."""
