"""From a mask to the one object that is edited, what lies behind it, and what edits need beside an image.

Values above the threshold are the object (a mask is never blurred); of several parts, which touch neither
at sides nor at corners, the largest is the object, or all of them together are; holes are background and stay holes.
What the mask shows beside the largest part is taken out of the background with it, so that no second object is left.

A background is made once for each image and shared by all its edits. What is left of an object in it would act as a
second one, so a ring around the mask is taken out as well: outlines are mixed with the object's colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.core.randomness import Randomness
from snellen.methods.explanations.background_swap import without_object
from snellen.methods.explanations.filling import telea_filling
from snellen.models.segmenters.object_masks import ObjectMasks
from snellen.models.segmenters.protocol import Segmenter

#: Which parts of a mask are the object.
Parts = Literal["largest", "all"]

#: An object of fewer pixels says nothing of size or direction.
LEAST_PIXELS = 9


def binarised(mask: Tensor, threshold: float = 0.5) -> Tensor:
    """A mask as bool: bytes are shares of 255.

    >>> binarised(torch.tensor([[0, 127, 128, 255]], dtype=torch.uint8)).tolist()
    [[False, False, True, True]]

    Args:
        mask: (..., h, w), bool, uint8 or float in [0, 1].
        threshold: values above it are the object, in [0, 1).

    Raises:
        InputError: another type.
    """
    if mask.dtype == torch.bool:
        return mask
    if mask.dtype == torch.uint8:
        return mask.double() / 255 > threshold
    if not mask.is_floating_point():
        raise InputError(f"a mask is bool, uint8 or float in [0, 1]; got {mask.dtype}")
    return mask > threshold


def largest_part(mask: Tensor) -> Tensor:
    """The largest part of a mask whose pixels touch at sides or corners; of equal ones, the first from the top.

    >>> largest_part(torch.tensor([[True, False, True], [False, False, True]])).tolist()
    [[False, False, True], [False, False, True]]

    Args:
        mask: bool (h, w), not empty.
    """
    labels = _labels(mask.cpu().numpy())
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return torch.from_numpy(labels == int(sizes.argmax())).to(mask.device)


def object_of(mask: Tensor, parts: Parts = "largest") -> Tensor:
    """The object that is edited, bool (h, w).

    Args:
        mask: bool (h, w).
        parts: which parts of it are the object.

    Raises:
        RejectedImageError: an empty mask, one of very few pixels, one that is all of the image, or one that touches
            all four borders; the message says which.
        InputError: no bool (h, w).
    """
    if mask.dtype != torch.bool or mask.ndim != 2:
        raise InputError(f"the mask of one object is bool (h, w); got {mask.dtype} {tuple(mask.shape)}")
    count = int(mask.sum())
    if not count:
        raise RejectedImageError("its mask is empty: nobody knows where the object is")
    if count == mask.numel():
        raise RejectedImageError("its mask is all of the image: there is no background to edit")
    found = largest_part(mask) if parts == "largest" else mask
    if int(found.sum()) < LEAST_PIXELS:
        raise RejectedImageError(f"its object has {int(found.sum())} pixels, and at least {LEAST_PIXELS} are needed")
    if bool(found[0].any() and found[-1].any() and found[:, 0].any() and found[:, -1].any()):
        raise RejectedImageError("its object touches all four borders: the image shows a part of it at most")
    return found


def widened(mask: Tensor, pixels: int) -> Tensor:
    """A mask and what lies within some pixels of it, in a square: bool (..., h, w)."""
    if pixels < 1:
        return mask
    wide = torch.nn.functional.max_pool2d(mask.float().reshape(-1, 1, *mask.shape[-2:]), 2 * pixels + 1, 1, pixels)
    return wide.bool().reshape(mask.shape)


def _labels(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """A number for each part, from 1; 0 outside: runs of rows that are joined where those of two rows touch."""
    parents = [0]

    def root(label: int) -> int:
        while parents[label] != label:
            parents[label] = parents[parents[label]]
            label = parents[label]
        return label

    labels = np.zeros(mask.shape, dtype=np.int64)
    before: list[tuple[int, int, int]] = []
    for number, row in enumerate(mask):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], row, [False]]).astype(np.int8)))
        runs: list[tuple[int, int, int]] = []
        for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            label = len(parents)
            parents.append(label)
            for other, first, last in before:
                if first <= end and start <= last:  # ends are exclusive, so corners count as touching
                    one, two = sorted((root(label), root(other)))
                    parents[two] = one
            runs.append((label, start, end))
            labels[number, start:end] = label
        before = runs
    roots = np.array([root(label) for label in range(len(parents))])
    found: NDArray[np.int64] = roots[labels]
    return found


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


#: Images that are tried for their background before an edit is refused.
TRIED = 20


class EditedObjects:
    """Objects and backgrounds of a set at its own sizes.

    Args:
        images: the whole set; parts of it are edited.
        rng: of the run.
        segmenter: in place of the set's masks.
    """

    def __init__(self, images: ImageSet, rng: Randomness, segmenter: Segmenter | None = None) -> None:
        self._images, self._rng = images, rng
        self._masks = ObjectMasks(images, Preprocessing(), segmenter)
        self._places = {key: place for place, key in enumerate(images.ids)}
        self._labels = images.labels if images.has_labels else np.full(len(images), -1, dtype=np.int64)

    def mask(self, example_id: str, pixels: Tensor) -> Tensor:
        """Where the object is, bool (h, w): of an image, uint8 (3, h, w).

        Raises:
            RejectedImageError: nobody knows.
            InputError: the source of the set cannot read masks.
        """
        return self._masks.of(self._places[example_id], pixels)

    def lent(self, example_id: str, height: int, width: int, fill: Fill = "moved", ring: float = 0.0) -> Tensor:
        """The background of another image, of another class where classes are known, in this size: float (3, h, w).

        It depends on the seed, the id and the set.

        Args:
            example_id: of the image that gets it.
            height: of that image, pixels.
            width: of that image, pixels.
            fill: how the lender's object is taken out.
            ring: width of what is taken out around it, of the longer side; at least a pixel.

        Raises:
            RejectedImageError: none of those that were tried has one.
        """
        own = self._places[example_id]
        others = np.arange(len(self._images)) != own
        if self._labels[own] >= 0:
            others &= (self._labels >= 0) & (self._labels != self._labels[own])
        found = np.flatnonzero(others)
        draw = self._rng.for_examples([example_id]).uniform("lender of a background", ())
        start = int(float(draw[0]) * len(found))
        for place in np.roll(found, -start)[:TRIED].tolist():
            try:
                pixels = Preprocessing().pixels(self._images.read(place))
                mask = self._masks.of(place, pixels)
                object_of(mask)
            except RejectedImageError:
                continue
            around = ring_pixels(ring, pixels.shape[1], pixels.shape[2])
            if bool(widened(mask, around).all()):
                continue
            (background,) = removed(to_unit(pixels)[None], mask[None], fill, ring=around)
            return _sized(background, height, width)
        raise RejectedImageError(
            "no other image lends its background: they are of the same class, or nobody knows where their objects are"
        )


def _sized(background: Tensor, height: int, width: int) -> Tensor:
    """A background that fills a frame: its middle, scaled with its proportions."""
    if background.shape[1:] == (height, width):
        return background
    scale = max(height / background.shape[1], width / background.shape[2])
    size = [max(round(side * scale), least) for side, least in zip(background.shape[1:], (height, width), strict=True)]
    scaled = functional.interpolate(background[None], size, mode="bilinear", antialias=True, align_corners=False)[0]
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return torch.clamp(scaled[:, top : top + height, left : left + width], 0, 1)
