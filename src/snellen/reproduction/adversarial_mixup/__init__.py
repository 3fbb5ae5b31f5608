"""The experiment of Adversarial AutoMixup."""
