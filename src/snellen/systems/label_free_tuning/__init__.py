"""A classifier of unlabelled images: classes in words, a teacher on self-supervised features, prompts that it tunes."""
