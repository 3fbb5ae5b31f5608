"""System 36: instance-level learning of labels of bags, beside pooling, attention and their like."""
