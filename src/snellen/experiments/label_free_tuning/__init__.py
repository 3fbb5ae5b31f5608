"""System 35: a text–image model tuned to unlabelled images, on scenes in bad weather and on captioned cut-outs."""
