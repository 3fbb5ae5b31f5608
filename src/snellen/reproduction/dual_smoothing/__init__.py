"""System 13: whether two smoothed halves prove more than one smoothed image."""
