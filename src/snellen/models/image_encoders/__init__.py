"""Image encoders: any loaded model with its last layer left away, frozen, as images → vectors."""
