"""Weights and the folders that hold them: reading, identity, random ones, and the device they are put on."""
