"""System 5: whether a denoiser that is aligned with decisions gives back both the image and the perturbation."""
