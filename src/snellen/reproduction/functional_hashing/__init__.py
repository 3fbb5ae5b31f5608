"""The experiment of system 23 and its claims."""
