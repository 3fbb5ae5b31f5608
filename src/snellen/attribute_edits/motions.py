"""Size, place and direction of an object, each changed alone.

Li et al., *ImageNet-E* (CVPR 2023), whose code repeats k = sqrt(s / rate) on its own result up to 50 times, until the
rate is within 0.015 of s or has the same whole percent. Scaling by k multiplies the area by k², so one step is nearly
exact; what rounding to pixels leaves is made up for by a few more, each sampled from the original.
"""

from __future__ import annotations

import math

from snellen.attribute_edits.object_layer import ObjectLayer, resampled, shifted
from snellen.errors import InputError, RejectedImageError

#: Published: how far the share of the image may be from what was asked for, and how often it is tried.
TOLERANCE, ROUNDS = 0.015, 50

#: Published in a comment of the code: directions are drawn between −45 and 45 degrees.
TURNS = 45.0


def sized(layer: ObjectLayer, share: float, *, parity: bool = False) -> ObjectLayer:
    """The object in a size, where it is.

    Its centre stays, unless it must move inside. A share that is larger than any that fits becomes the largest that
    does, as published ("full").

    Args:
        layer: the object.
        share: of the image that it shall cover, in (0, 1].
        parity: stop at the published tolerance, which leaves an object alone that is within 0.015 already; by default
            the nearest share that whole pixels allow is looked for.

    Raises:
        InputError: a share outside of (0, 1].
        RejectedImageError: no size within the tolerance is found.
    """
    if not 0 < share <= 1:
        raise InputError(f"a size is the share of the image that the object covers, in (0, 1]; got {share}")
    largest = largest_scale(layer)
    scale, best = 1.0, layer
    if parity and _reached(layer.share, share):
        return layer
    for _ in range(ROUNDS if parity else ROUNDS // 5):
        found = resampled(layer, scale, 0.0)
        if abs(found.share - share) < abs(best.share - share):
            best = found
        if _reached(best.share, share) if parity else abs(best.share - share) * best.mask.numel() <= 0.5:
            return best
        wanted = scale * math.sqrt(share / found.share)
        if wanted >= largest:
            if scale == largest:
                return full_sized(layer)
            wanted = largest
        scale = wanted
    if abs(best.share - share) > TOLERANCE:
        raise RejectedImageError(
            f"its object covers {best.share:.3f} of the image at best, not the {share:g} asked for"
        )
    return best


def full_sized(layer: ObjectLayer) -> ObjectLayer:
    """The object as large as the image allows with its aspect: its box reaches from edge to edge one way."""
    scale = largest_scale(layer)
    for _ in range(4):  # rounding may put the last pixel outside
        try:
            return resampled(layer, scale, 0.0)
        except RejectedImageError:
            scale *= 1 - 1e-3
    raise RejectedImageError("its object cannot be made as large as the image")


def largest_scale(layer: ObjectLayer) -> float:
    """Factor by which the lengths of an object can grow until its box is as high or as wide as the image."""
    top, left, bottom, right = layer.box
    height, width = layer.mask.shape
    return min(height / (bottom - top), width / (right - left))


def placed(layer: ObjectLayer, down: float, across: float) -> ObjectLayer:
    """The object at another place, fully inside, by whole pixels: size, direction and every pixel stay.

    Args:
        layer: the object.
        down: which of the places from top to bottom, uniform in [0, 1) for a uniform place.
        across: the same from left to right.

    Raises:
        RejectedImageError: its box is as large as the image, so there is no other place.
    """
    top, left, bottom, right = layer.box
    height, width = layer.mask.shape
    rooms = height - (bottom - top) + 1, width - (right - left) + 1
    if rooms == (1, 1):
        raise RejectedImageError("its object is as large as the image: there is no other place for it")
    at = [min(int(one * room), room - 1) for one, room in zip((down, across), rooms, strict=True)]
    return shifted(layer, at[0] - top, at[1] - left)


def turned(layer: ObjectLayer, degrees: float) -> ObjectLayer:
    """The object turned clockwise about its centre.

    Raises:
        RejectedImageError: turned like this it does not fit into the image.
    """
    return resampled(layer, 1.0, degrees)


def _reached(rate: float, share: float) -> bool:
    return math.floor(100 * rate) == 100 * share or abs(rate - share) <= TOLERANCE
