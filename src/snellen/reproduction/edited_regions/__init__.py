"""The experiment of system 22 and its claims."""
