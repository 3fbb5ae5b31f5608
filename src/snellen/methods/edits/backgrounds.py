"""What lies behind an object: its own background with the object taken out, or another image's.

A background is made once for each image and shared by all its edits. What is left of an object in it would act as a
second one, so a ring around the mask is taken out as well: outlines are mixed with the object's colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.edits.masked_object import widened
from snellen.methods.explanations.background_swap import without_object
from snellen.methods.explanations.filling import telea_filling

#: How an object is taken out: pixels of the same image, moved; or painted from the edge of the hole (extra ``opencv``).
Fill = Literal["moved", "telea"]

#: Pixels of the ring that is taken out with the object, at least.
RING = 1


def removed(images: Tensor, masks: Tensor, fill: Fill = "moved", *, ring: int = RING) -> Tensor:
    """Backgrounds without their objects.

    Args:
        images: float (n, 3, h, w) in [0, 1].
        masks: bool (n, h, w), all that is taken out.
        fill: how.
        ring: pixels around the mask that go with it.

    Returns:
        Float (n, 3, h, w) in [0, 1]. Pixels outside of mask and ring are those of the image, bit for bit.

    Raises:
        InputError: shapes that do not fit.
        MissingExtraError: ``telea`` without OpenCV.
    """
    if masks.dtype != torch.bool or masks.shape != (len(images), *images.shape[2:]):
        raise InputError(
            f"masks for images {tuple(images.shape)} are bool {(len(images), *images.shape[2:])}; got {masks.dtype} "
            f"{tuple(masks.shape)}"
        )
    holes = torch.stack([widened(mask, ring) for mask in masks]) if len(masks) else masks
    if fill == "telea":
        return telea_filling(images)(torch.arange(len(images)), ~holes)
    return torch.stack([without_object(*pair) for pair in zip(images, holes, strict=True)]) if len(images) else images


def ring_pixels(share: float, height: int, width: int) -> int:
    """Pixels of a ring that is that share of the longer side, at least :data:`RING`.

    >>> ring_pixels(0.0, 224, 224), ring_pixels(0.05, 224, 160)
    (1, 11)
    """
    return max(RING, round(share * max(height, width)))


def lenders(labels: Sequence[int] | Tensor, rng: Randomness) -> list[int | None]:
    """For each image, another one of another class, whose background it gets; None where there is no other class.

    An image's lender depends on its id and on the set, not on the order of draws.

    >>> lenders([0, 0, 1], Randomness(0))[2] in (0, 1), lenders([4, 4], Randomness(0))
    (True, [None, None])

    Args:
        labels: classes of all n images.
        rng: bound to their ids, or bound here by position.
    """
    classes = torch.as_tensor(labels)
    drawn = rng.bind(len(classes)).uniform("lender of a background", ()).tolist()
    found: list[int | None] = []
    for label, draw in zip(classes.tolist(), drawn, strict=True):
        others = (classes != label).nonzero().flatten()
        found.append(int(others[min(int(draw * len(others)), len(others) - 1)]) if len(others) else None)
    return found


def pasted_onto(images: Tensor, masks: Tensor, backgrounds: Tensor) -> Tensor:
    """Copy and paste, the baseline without diffusion: objects before backgrounds, bit for bit on either side.

    Args:
        images: (n, 3, h, w), with the objects.
        masks: bool (n, h, w).
        backgrounds: (n, 3, h, w).
    """
    return torch.where(masks[:, None], images, backgrounds)
