"""Decisions by named concepts: where concepts come from, heads on their scores, controls, corrections."""
