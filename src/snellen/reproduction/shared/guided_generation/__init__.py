"""Generation steered by a classifier: systems 38 and 12, and what they share."""
