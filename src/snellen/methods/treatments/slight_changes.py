"""Images a little turned, a little larger or smaller, in a little other light: what few images of a group lack most.

A classifier that fails on the very images cannot show whether such a change leaves the class alone. So a treatment uses
it for a candidate of its own, and the validation images choose.
"""

from __future__ import annotations

import math

from snellen.methods.treatments.geometric_tuning import Move, whole_images
from snellen.training.transforms import BatchTransform, colour_jitter, in_sequence

#: Farthest turn, in radians; largest factor of size; largest change of brightness, contrast and saturation.
TURN, SIZE, LIGHT = math.radians(15), 1.2, 0.3


def slight_changes() -> BatchTransform:
    """Turn, resize and recolour each image by amounts of its own.

    >>> import torch
    >>> from snellen.core.randomness import Randomness
    >>> images = torch.rand(2, 3, 8, 8)
    >>> changed, _ = slight_changes()(images, torch.zeros(2), Randomness(0).bind(2))
    >>> changed.shape == images.shape and bool((changed != images).any())
    True
    """
    turned = whole_images(
        lambda drawn, size: Move(
            scale=((2 * drawn[:, 0] - 1) * math.log(SIZE)).exp(), turn=(2 * drawn[:, 1] - 1) * TURN
        )
    )
    return in_sequence(turned, colour_jitter(LIGHT, LIGHT, LIGHT, 0.0))
