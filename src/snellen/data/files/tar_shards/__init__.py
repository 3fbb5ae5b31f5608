"""Images in tar archives, in the layout of WebDataset: read by their places, never unpacked."""
