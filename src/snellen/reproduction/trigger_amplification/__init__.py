"""The experiment of system 25 and its claims."""
