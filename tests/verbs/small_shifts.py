"""Shifts so small that a test can say what they do to a byte."""

import torch

from snellen.core.errors import RejectedImageError
from snellen.core.method import Method


class Fade(Method):
    """Darker by a tenth of ``amount`` for each severity."""

    name = "fade"
    amount: float = 1.0

    def shift(self, images, severity, *, rng):
        return images * (1 - self.amount * severity / 10)


class Grain(Method):
    """Noise: other colours for each image id, unless grey."""

    name = "grain"
    kind: str = "colour"

    def shift(self, images, severity, *, rng):
        channels = 3 if self.kind == "colour" else 1
        noise = rng.bind(len(images)).normal("grain", (channels, *images.shape[2:]))
        return (images + severity / 20 * noise).clamp(0, 1)


class Published:
    def __init__(self, published):
        self.published = published


class Told(Fade):
    """A fade that is published at whole severities of square images."""

    name = "told"

    def strength(self, severity, images):
        return Published(severity == int(severity) and images.shape[2] == images.shape[3])


class Failing(Fade):
    """Not finite for images that are white, refuses images that are black, at severity 2."""

    name = "failing"

    def shift(self, images, severity, *, rng):
        changed = super().shift(images, severity, rng=rng)
        if severity == 2:
            if bool((images == 0).flatten(1).all(1).any()):
                raise RejectedImageError("too dark to fade")
            changed[(images == 1).flatten(1).all(1)] = torch.nan
        return changed


class Cropping(Method):
    """Breaks the promise of its verb."""

    name = "cropping"

    def shift(self, images, severity, *, rng):
        return images[:, :, 1:]
