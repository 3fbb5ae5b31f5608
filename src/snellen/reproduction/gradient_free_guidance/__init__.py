"""The experiment of gradient-free classifier guidance."""
