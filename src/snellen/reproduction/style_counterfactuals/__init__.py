"""System 32: attributes of lesion images of which everything is known."""
