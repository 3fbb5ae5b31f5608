"""Classifiers behind the Open Inference Protocol, version 2, as KServe, Triton, OpenVINO Model Server and others do."""
