"""System 28: the experiment behind the claims of its page."""
