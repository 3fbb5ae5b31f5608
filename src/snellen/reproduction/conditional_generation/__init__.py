"""Experiment on system 6: does training on generated images make classifiers robust under shift."""
