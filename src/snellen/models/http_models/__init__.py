"""Classifiers behind the Open Inference Protocol, version 2: KServe, Triton, OpenVINO Model Server and others speak it."""
