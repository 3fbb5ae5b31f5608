"""System 32: attributes of lesion images whose factors are known."""
