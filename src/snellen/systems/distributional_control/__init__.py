"""System 28, PromptGen: a small invertible network through which a frozen generator samples a wanted distribution."""
