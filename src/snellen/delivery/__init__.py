"""What leaves with a trained classifier: weights, card, ONNX file, and an audit of its own."""
