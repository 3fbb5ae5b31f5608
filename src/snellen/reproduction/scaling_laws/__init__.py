"""System 14: the experiment behind the claims of its page."""
