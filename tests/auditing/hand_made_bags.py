"""Bags made by hand: what an audit knows of their images, and image sets of tiles whose brightness is their score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from snellen.checks.per_image import PerImage
from snellen.core.classifier import Classifier
from snellen.core.errors import RejectedImageError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.metrics.units import unit_codes

NAMES = ("healthy", "tumour")


@dataclass(frozen=True)
class Bag:
    """A bag: its label (None unknown), probabilities of its images, their labels, its patient and its site."""

    id: str
    label: int | None
    probabilities: Sequence[float]
    truth: Sequence[int] | None = None
    unit: str | None = None
    group: str | None = None


def known(bags: Sequence[Bag]) -> PerImage:
    """What an audit knows of the images of some bags, in two classes."""
    owners = [bag for bag in bags for _ in bag.probabilities]
    values = np.array([p for bag in bags for p in bag.probabilities], dtype=np.float64)
    ids = tuple(f"{bag.id}/{row:03d}" for bag in bags for row in range(len(bag.probabilities)))
    units = tuple(key if bag.unit is None else bag.unit for bag, key in zip(owners, ids, strict=True))
    truth = [label for bag in bags for label in (bag.truth or [-1] * len(bag.probabilities))]
    return PerImage(
        ids=ids,
        labels=np.array(truth, dtype=np.int64),
        predictions=(values > 0.5).astype(np.int64),
        confidence=np.maximum(values, 1 - values),
        unit_ids=units,
        units=None if len(set(units)) == len(ids) else unit_codes(units),
        groups=tuple(bag.group for bag in owners),
        bags=tuple(bag.id for bag in owners),
        bag_labels=np.array([-1 if bag.label is None else bag.label for bag in owners], dtype=np.int64),
        scores=np.log(np.clip(np.stack([1 - values, values], axis=1), 1e-12, 1)),
    )


class BrightTiles:
    """Grey squares as bright as their probability; those that are NaN cannot be read."""

    def __init__(self, values: np.ndarray, side: int = 8) -> None:
        self.values, self.side = values, side

    def read(self, index: int) -> Image.Image:
        """One square."""
        if np.isnan(self.values[index]):
            raise RejectedImageError("the region is damaged")
        grey = round(255 * float(self.values[index]))
        return Image.new("RGB", (self.side, self.side), (grey, grey, grey))

    def content_hash(self, index: int) -> str:
        """Its brightness."""
        return str(self.values[index])


def image_set(bags: Sequence[Bag], source: type[BrightTiles] = BrightTiles, **columns: Sequence[object]) -> ImageSet:
    """The same bags as images; a probability of NaN is an image that cannot be read."""
    owners = [bag for bag in bags for _ in bag.probabilities]
    truth = [label for bag in bags for label in (bag.truth or [None] * len(bag.probabilities))]
    table = {
        "id": [f"{bag.id}/{row:03d}" for bag in bags for row in range(len(bag.probabilities))],
        "label": pa.array(truth, pa.int64()),
        "unit_id": pa.array([bag.unit for bag in owners], pa.string()),
        "group": pa.array([bag.group for bag in owners], pa.string()),
        "bag_id": [bag.id for bag in owners],
        "bag_label": pa.array([bag.label for bag in owners], pa.int64()),
        **columns,
    }
    values = np.array([p for bag in bags for p in bag.probabilities], dtype=np.float64)
    return ImageSet(source(values), pa.table(table), class_names=NAMES, name="slides of squares")


def by_brightness(**more: object) -> Classifier:
    """A classifier whose probability of tumour is the brightness of the image."""

    def scores(batch: torch.Tensor) -> torch.Tensor:
        bright = batch.mean((1, 2, 3)).clamp(1e-6, 1 - 1e-6)
        return torch.stack([1 - bright, bright], 1).log()

    given = {"class_names": NAMES, "preparation": Preprocessing(size=(8, 8)), "name": "brightness"}
    return Classifier(scores, **{**given, **more})
