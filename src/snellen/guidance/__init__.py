"""What methods share that steer a generator by a classifier: what is asked of the generator, in terms of classes."""
