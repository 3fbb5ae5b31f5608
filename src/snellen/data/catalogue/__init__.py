"""Real image sets that come with ordinary packages (Debian, PyPI, npm): what they are, where they are, how to read them."""
