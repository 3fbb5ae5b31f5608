"""STRIP: a trigger still decides when another image is laid over it, so the decision stays certain.

Gao et al., "STRIP: a defence against trojan attacks on deep neural networks", ACSAC 2019, arXiv 1902.06531: entropy of
the decisions about superpositions of an image with clean ones; low entropy is suspicious.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.method import Need
from snellen.core.preprocessing import to_unit
from snellen.core.randomness import Randomness
from snellen.data.loading import prepared_batches
from snellen.data.references import load_images
from snellen.methods.scans.scored_images import ScoredImages

#: Images from which superpositions are drawn, at most.
POOL = 200


def certainty(
    classifier: Classifier, images: Tensor, overlays: Tensor, chosen: Tensor, *, weight: float = 0.5
) -> Tensor:
    """Return ln K − mean entropy of the decisions about (1 − w) x + w o, over each image's overlays: (n,), 0 to ln K.

    Args:
        classifier: that gives scores.
        images: (n, 3, h, w) in [0, 1].
        overlays: (m, 3, h, w) in [0, 1].
        chosen: int64 (n, r), which overlays each image gets.
        weight: w in (0, 1).

    Raises:
        InputError: overlays of another size.
    """
    if overlays.shape[1:] != images.shape[1:]:
        raise InputError(f"overlays {tuple(overlays.shape)} do not fit images {tuple(images.shape)}")
    total = torch.zeros(len(images), dtype=torch.float64)
    with torch.no_grad():
        for column in chosen.T:
            scores = classifier(images * (1 - weight) + overlays[column.to(overlays.device)] * weight)
            logs = scores.double().log_softmax(1)
            total += -(logs.exp() * logs).sum(1).cpu()
    return math.log(len(classifier.class_names)) - total / chosen.shape[1]


@dataclass(frozen=True, eq=False)
class Overlays:
    """Images to lay over, (m, 3, h, w), and the place of each by its bytes: built once, and not for each batch."""

    images: Tensor
    places: Mapping[bytes, int]

    def place_of(self, images: Tensor) -> Tensor:
        """Place of each image among them, −1 where it is not there: int64 (n,)."""
        rows = np.ascontiguousarray(images.cpu().numpy())
        return torch.tensor([self.places.get(row.tobytes(), -1) for row in rows], dtype=torch.int64)


class Strip(ScoredImages):
    """Look for images whose decision survives another image laid over them (STRIP).

    >>> Strip(overlays=8).record()["overlays"]
    8
    """

    name: ClassVar[str] = "strip"
    needs: ClassVar[frozenset[Need]] = frozenset({"scores"})

    overlays: int = Field(32, ge=1, description="images that are laid over each image; 100 published")
    weight: float = Field(0.5, gt=0, lt=1, description="weight of the image that is laid over")
    clean: str | None = Field(
        None, description="reference of clean images to lay over; left out, images of the scanned set itself"
    )

    def reference_hashes(self) -> dict[str, str]:
        """Hash of the clean images, which distinguish another scan from this one."""
        return {} if self.clean is None else {"clean": load_images(self.clean).fingerprint()}

    def prepared(self, images: ImageSet, classifier: Classifier, rng: Randomness) -> Overlays:
        """Images to lay over, and where each of them is."""
        source = images if self.clean is None else load_images(self.clean)
        few = source.limit(min(POOL, len(source)), rng.generator("pool").initial_seed() % 2**31)
        kept = [
            to_unit(one.pixels) for one in prepared_batches(few, classifier.preparation, self.batch_size) if one.ids
        ]
        if not kept or sum(map(len, kept)) < 2:
            raise InputError(f"{self.name} lays other images over each, and fewer than two of {source.name} are usable")
        pool = torch.cat(kept)
        places = {row.tobytes(): place for place, row in enumerate(pool.cpu().numpy())}
        return Overlays(pool.to(classifier.device), places)

    def scores(self, classifier: Classifier, pixels: Tensor, shared: object, rng: Randomness) -> Tensor:
        """See :func:`certainty`; an image is not laid over itself."""
        assert isinstance(shared, Overlays)
        count, same = len(shared.images), shared.place_of(pixels)
        chosen = rng.integers("overlays", (self.overlays,), 0, count)
        chosen = torch.where(chosen == same[:, None], (chosen + 1) % count, chosen)
        return certainty(classifier, pixels, shared.images, chosen, weight=self.weight)
