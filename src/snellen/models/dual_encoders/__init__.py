"""Text–image models: two encoders that map images and texts into one space."""
