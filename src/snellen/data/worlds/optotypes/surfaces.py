"""What is drawn on an object: its texture, edged smoothly, as a share of darker paint."""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.data.worlds.optotypes.factors import Texture
from snellen.data.worlds.stable_arithmetic import length

#: Period of a texture, in half sides of the image, and the most of an object's radius that it takes. It belongs to the
#: image and not to the object, so that small objects keep their texture as long as they can.
PERIOD, PERIOD_OF_RADIUS = 0.36, 0.64

#: Of the object's colour, what is left where a texture is darker.
DARKER = 0.28


def texture_period(radius: Tensor) -> Tensor:
    """Period of textures on objects of a radius, both in half sides of the image."""
    return (radius * PERIOD_OF_RADIUS).clamp(max=PERIOD)


def darker_share(texture: Texture, x: Tensor, y: Tensor, sharpness: Tensor) -> Tensor:
    """Share of each pixel that is darker: in [0, 1], of the shape of ``x``.

    Args:
        texture: its name.
        x: place on the object, in periods, to its right.
        y: place on the object, in periods, downwards.
        sharpness: periods in a pixel, broadcast to ``x``, inverted: pixels in a period.
    """
    if texture == "plain":
        return torch.zeros_like(x)
    if texture == "striped":
        depth = 0.25 - _to_middle(y)
    elif texture == "dotted":
        depth = 0.29 - length(_to_middle(x), _to_middle(y))
    else:
        # Inside one of the two kinds of squares: the nearer of both edges counts, with the sign of the square.
        across, down = 0.25 - _to_middle(x), 0.25 - _to_middle(y)
        depth = torch.minimum(across.abs(), down.abs()) * across.sign() * down.sign()
    return (depth * sharpness).add_(0.5).clamp_(0, 1)


def _to_middle(place: Tensor) -> Tensor:
    """Distance to the nearest whole number, in [0, 0.5]."""
    return (place - place.round()).abs_()
