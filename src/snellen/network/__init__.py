"""What may leave this machine, how it leaves, and the record of what left: for classifiers and language models."""
