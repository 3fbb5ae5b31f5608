"""Attacks on the representations inside a classifier, carried over to another one."""
