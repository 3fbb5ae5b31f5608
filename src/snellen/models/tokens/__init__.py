"""Texts as tokens, for models of several libraries."""
