"""System 29: safety classifiers and a policy-following network on harmless symbols."""
