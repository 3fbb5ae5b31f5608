"""What was added to an image, and what the image was before: estimates, their training, and what they are worth."""
