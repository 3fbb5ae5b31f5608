"""System 14: how loss falls with the number of generated images, and how many of them are worth a real one."""
