"""Compositions of methods into files: images that any tool can read, and the record of how they were made."""
