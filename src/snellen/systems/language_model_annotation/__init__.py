"""System 18: a concept in words becomes a classifier whose labels come from language and vision models."""
