"""The images of a batch whose objects are known, and what puts an edit among the transformations of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.checks.check import Batch
from snellen.core.errors import InputError, RejectedImageError
from snellen.core.randomness import Randomness
from snellen.methods.edits.masked_object import removed, ring_pixels, widened
from snellen.models.segmenters.object_masks import ObjectMasks, fitting_segmenter
from snellen.systems.attribute_editing.method import AttributeEditing


@dataclass(frozen=True)
class SameSources:
    """What is left.

    Attributes:
        kept: ids of images that every setting could edit, in their order.
        left_out: of the others, the settings that failed and why, as pairs.
    """

    kept: tuple[str, ...]
    left_out: Mapping[str, tuple[tuple[str, str], ...]]


def same_sources(ids: Sequence[str], statuses: Mapping[str, Sequence[str]]) -> SameSources:
    """Which images every setting could edit.

    >>> same_sources(["a", "b"], {"size_5": ["ok", "ok"], "random_position": ["ok", "no other place"]})
    SameSources(kept=('a',), left_out={'b': (('random_position', 'no other place'),)})

    Args:
        ids: of the images.
        statuses: by setting, for each image "ok" or why it could not be edited.
    """
    failed = {
        key: tuple((setting, found[row]) for setting, found in statuses.items() if found[row] != "ok")
        for row, key in enumerate(ids)
    }
    return SameSources(
        tuple(key for key in ids if not failed[key]), {key: reasons for key, reasons in failed.items() if reasons}
    )


@dataclass(frozen=True, eq=False)
class EditedBatch:
    """Some images of a batch with their objects, and with backgrounds that all edits share.

    Attributes:
        part: the images whose objects are known.
        masks: bool (n, h, w).
        backgrounds: (n, 3, h, w) without the objects.
        refused: id and reason of the others.
    """

    part: Batch | None
    masks: Tensor
    backgrounds: Tensor
    refused: Sequence[tuple[str, str]]

    @classmethod
    def of(cls, batch: Batch, editing: AttributeEditing, segmenter: str | None, ring: float = 0.0) -> EditedBatch:
        """Find the objects.

        Args:
            batch: at least one image, with the images as their set has them.
            editing: how objects are taken out of their backgrounds.
            segmenter: reference of what finds the objects, in place of masks.
            ring: width of what is taken out around each object, of the image's longer side; at least a pixel.
        """
        assert batch.originals is not None, "masks are those of the set"
        classifier = batch.classifier
        finder = None if segmenter is None else fitting_segmenter(segmenter, classifier.device)
        objects = ObjectMasks(batch.originals, classifier.preparation, finder)
        pixels = batch.images.mul(255).round().to(torch.uint8).cpu()
        around = ring_pixels(ring, pixels.shape[2], pixels.shape[3])
        rows: list[int] = []
        masks: list[Tensor] = []
        refused: list[tuple[str, str]] = []
        for row, key in enumerate(batch.ids):
            try:
                mask = objects.of(row, pixels[row])
                if bool(widened(mask, around).all()):
                    raise RejectedImageError("no background is left around its object")
                masks.append(mask)
                rows.append(row)
            except (RejectedImageError, InputError) as error:
                refused.append((key, str(error)))
        if not rows:
            return cls(None, torch.empty(0, 0, 0, dtype=torch.bool), torch.empty(0, 3, 0, 0), refused)
        part, found = batch.take(torch.tensor(rows)), torch.stack(masks).to(batch.images.device)
        return cls(part, found, removed(part.images, found, editing.fill, ring=around), refused)

    def transformation(self, editing: AttributeEditing) -> Edits:
        """An edit for :func:`snellen.metrics.sweep`."""
        return Edits(self, editing)


class Edits:
    """An edit as a transformation of a sweep, and as the filter of images that it could not be made of."""

    def __init__(self, batch: EditedBatch, editing: AttributeEditing) -> None:
        self._batch, self._editing = batch, editing
        self._status: Sequence[str] = ()

    def __call__(self, images: Tensor, severity: float, rng: Randomness) -> Tensor:
        """Edit all images of the batch."""
        found = self._editing.edit(images, self._batch.masks, severity, rng=rng, backgrounds=self._batch.backgrounds)
        self._status = found.status
        return found.images.to(images)

    def validity(self, clean: Tensor, edited: Tensor) -> list[str | None]:
        """Of what was edited last: None, or why it could not be."""
        return [None if status == "ok" else status for status in self._status]
