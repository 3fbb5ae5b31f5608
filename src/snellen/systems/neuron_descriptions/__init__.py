"""Units of networks in words: what excites them most, what is said of it, and what changes when they are zeroed."""
