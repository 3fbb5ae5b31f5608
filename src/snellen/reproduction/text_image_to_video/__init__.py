"""The experiment of system 30."""
