"""Units of networks in words: what excites them most, its description, and what changes when they are zeroed."""
