"""Real image sets that come with ordinary packages of Debian, PyPI and npm: what, where, and how to read them."""
