"""System 7: natural prompts, likely latents and tokens on which a text-to-image model draws the wrong content."""
