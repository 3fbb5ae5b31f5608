"""System 39: guidance in the decoding of captions, over the scale, on scenes with vague references."""
