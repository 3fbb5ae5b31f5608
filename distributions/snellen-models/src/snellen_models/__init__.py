"""Embedded models of Snellen: small, trained from nothing, in the native formats of the real ones. Files, no code."""
