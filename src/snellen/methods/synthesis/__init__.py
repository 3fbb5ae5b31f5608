"""Ways to condition a generated data set: by class names, by captions, by real images."""
