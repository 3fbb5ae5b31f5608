"""What edits of objects need beside an image: where the object is, and, for one of them, another image's background."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from snellen.core.errors import RejectedImageError
from snellen.core.images import ImageSet
from snellen.core.preparation import Preparation, to_unit
from snellen.core.randomness import Randomness
from snellen.methods.edits.backgrounds import Fill, removed, ring_pixels
from snellen.methods.edits.masked_object import object_of, widened
from snellen.models.segmenters.object_masks import ObjectMasks
from snellen.models.segmenters.protocol import Segmenter

#: Images that are asked for their background before nobody lends one.
ASKED = 20


class EditedObjects:
    """Objects and backgrounds of a set at its own sizes.

    Args:
        images: the whole set, of which parts are edited.
        rng: of the run.
        segmenter: in place of the set's masks.
    """

    def __init__(self, images: ImageSet, rng: Randomness, segmenter: Segmenter | None = None) -> None:
        self._images, self._rng = images, rng
        self._masks = ObjectMasks(images, Preparation(), segmenter)
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
            RejectedImageError: none of those that were asked has one.
        """
        own = self._places[example_id]
        others = np.arange(len(self._images)) != own
        if self._labels[own] >= 0:
            others &= (self._labels >= 0) & (self._labels != self._labels[own])
        found = np.flatnonzero(others)
        draw = self._rng.for_examples([example_id]).uniform("lender of a background", ())
        start = int(float(draw[0]) * len(found))
        for place in np.roll(found, -start)[:ASKED].tolist():
            try:
                pixels = Preparation().pixels(self._images.read(place))
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
