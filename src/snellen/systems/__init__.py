"""Published systems, one folder each, under one name everywhere."""
