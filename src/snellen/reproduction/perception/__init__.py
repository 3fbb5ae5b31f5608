"""System 20: classifiers of what an iterated autoencoder sees, beside classifiers of the images."""
