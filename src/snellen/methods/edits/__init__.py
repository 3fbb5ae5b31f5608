"""Edits of one object in an image: its mask, what lies behind it, and backgrounds that images lend each other."""
