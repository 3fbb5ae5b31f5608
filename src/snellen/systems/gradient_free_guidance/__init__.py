"""Guidance of a generator by what a classifier confuses, without its gradients."""
