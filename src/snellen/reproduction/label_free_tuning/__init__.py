"""System 35: a text–image model tuned to unlabelled images, on noisy scenes and on captioned cut-outs."""
