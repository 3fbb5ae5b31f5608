"""System 6: real, generated and mixed training images, and what they do to accuracy and effective robustness."""
