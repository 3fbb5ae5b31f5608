"""Reproduction: a published system's claims, measured here beside their baselines."""
