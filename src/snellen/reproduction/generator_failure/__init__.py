"""The experiment of system 7."""
