"""System 29: safety classifiers and a policy follower on harmless symbols."""
