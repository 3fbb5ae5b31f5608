"""Generation: guided, controlled and erased images, and what is said of images, with where each came from."""
