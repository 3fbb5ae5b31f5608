"""Size, place and direction of an object, each changed alone.

Li et al., *ImageNet-E* (CVPR 2023), whose code repeats k = sqrt(s / rate) on its own result up to 50 times, until the
rate is within 0.015 of s or has the same whole percent. Scaling by k multiplies the area by k², so one step is nearly
exact; what rounding to pixels leaves is made up for by a few more, each sampled from the original.
"""

from __future__ import annotations

import math

from snellen.core.errors import InputError, RejectedImageError
from snellen.systems.attribute_editing.object_layer import ObjectLayer, resampled, resampled_share, shifted

#: Published: how far the share of the image may be from what was asked for, and how often it is tried.
TOLERANCE, ROUNDS = 0.015, 50

#: Parts of a pixel by which an object may move while its size is looked for: where straight edges lie along the pixels
#: whole rows come and go together, and some sizes can be had only between them.
NUDGES = ((0.0, 0.0), (0.25, 0.25), (0.0, 0.5), (0.5, 0.0), (0.5, 0.5))

#: A size is reached when it is off by half a pixel, or by the first share of it; after a search without any part of a
#: pixel the second one will do.
NEAR, ENOUGH = 1 / 500, 1 / 50

#: Published in a comment of the code: directions are drawn between −45 and 45 degrees.
TURNS = 45.0


def sized(layer: ObjectLayer, share: float, *, parity: bool = False) -> ObjectLayer:
    """The object in a size, where it is.

    Its centre stays, to half a pixel, unless the object must move inside. A share that is larger than any that fits
    becomes the largest that does, as published ("full").

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
    if layer.share == share or (parity and _reached(layer.share, share)):
        return layer
    largest = largest_scale(layer)
    if share >= layer.share * largest**2:
        return full_sized(layer)
    best, scale, nudge = math.inf, 1.0, NUDGES[0]
    near = max(0.5 / layer.mask.numel(), NEAR * share)
    for own in NUDGES:
        low, high, tried = 0.0, largest * (1 - 1e-6), math.sqrt(share / layer.share)
        for _ in range(ROUNDS // len(NUDGES)):
            tried = tried if low < tried < high else (low + high) / 2
            found = resampled_share(layer, tried, own)
            if abs(found - share) < abs(best - share):
                best, scale, nudge = found, tried, own
            if (parity and _reached(found, share)) or abs(found - share) <= near:
                return resampled(layer, tried, 0.0, own)
            low, high = (tried, high) if found < share else (low, tried)
            tried = tried * math.sqrt(share / found) if found else 0.0
        if abs(best - share) <= ENOUGH * share:
            break
    if abs(best - share) > TOLERANCE:
        raise RejectedImageError(f"its object covers {best:.3f} of the image at best, not the {share:g} asked for")
    return resampled(layer, scale, 0.0, nudge)


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
