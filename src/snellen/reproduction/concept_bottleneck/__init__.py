"""System 1: decisions by named concepts under a shortcut, beside black boxes and words that say nothing."""
