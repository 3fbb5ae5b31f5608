"""System 4: the picture of its page; the experiment is planned."""
