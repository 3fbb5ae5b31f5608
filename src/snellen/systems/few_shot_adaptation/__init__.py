"""DataDream: adapt a generator to a few labelled images, generate a training set, adapt CLIP to both (system 8)."""
