"""Classifier-free guidance of captioning: captions that say more of the image."""
