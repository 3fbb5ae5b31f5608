"""Classifiers behind the Open Inference Protocol, version 2, as KServe, Triton and others serve them."""
