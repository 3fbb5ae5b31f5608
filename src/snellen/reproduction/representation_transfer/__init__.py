"""The experiment of system 16: what of attacks on data and on representations carries over between models."""
