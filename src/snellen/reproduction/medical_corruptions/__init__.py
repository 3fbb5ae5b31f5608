"""The experiment of MedMNIST-C."""
