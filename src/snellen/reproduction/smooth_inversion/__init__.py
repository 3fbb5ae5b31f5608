"""System 33: triggers that were planted, and what a search for them finds."""
