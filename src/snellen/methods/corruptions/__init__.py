"""Corruptions as batched tensor operators, and the published tables that turn a severity into parameters."""
