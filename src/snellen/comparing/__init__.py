"""Gating on an audit and comparing two of them: what is required, what was lost, what was mended."""
