"""ONNX graphs as torch modules, which have gradients and layers."""
