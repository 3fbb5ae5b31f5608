"""Learning from labels of bags: an instance classifier of pseudo labels, prototypes and contrast, and its rivals."""
