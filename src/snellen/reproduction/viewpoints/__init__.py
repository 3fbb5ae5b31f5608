"""System 11: viewpoints that fool a classifier, and training on them."""
