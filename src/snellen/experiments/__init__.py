"""Experiments: a published system's claims, measured here, beside its baselines."""
