"""System 34: concepts erased from the prompts of a text-to-image model, beside five other ways, and attacked."""
