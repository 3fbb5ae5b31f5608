"""What a network sees: images that settle on what an overfitted autoencoder remembers, before they are classified."""
