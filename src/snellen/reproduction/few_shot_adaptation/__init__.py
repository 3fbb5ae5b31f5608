"""The experiment of system 8 and its claims."""
