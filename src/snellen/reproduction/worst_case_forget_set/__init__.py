"""The measurement of system 24."""
