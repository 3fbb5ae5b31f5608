"""System 26, after NaTra: training against natural changes, where light and hue follow the class."""
