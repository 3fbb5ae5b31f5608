"""Image sets: files that are read, worlds that are drawn, and names that are kept private."""
