"""Test images that were trained on, or nearly: found by perceptual hashes before anything is scored.

Data sets of unsafe images are collected from the same places, so the external ones may hold images of the training set
of UnsafeBench. Fingerprints and pairs are those of :mod:`snellen.metrics.inspection.duplicates`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.data.loading import prepared_batches
from snellen.metrics.inspection.duplicates import across
from snellen.metrics.inspection.fingerprints import Fingerprints, fingerprint

#: Size at which fingerprints are taken.
_SIDE = Preprocessing(size=(64, 64), resize="exact", resize_to=(64, 64))


@dataclass(frozen=True)
class Leak:
    """One test image that is in the training set, or nearly.

    Attributes:
        test: its id.
        training: id of the training image.
        distance: 0 for equal fingerprints.
    """

    test: str
    training: str
    distance: float


def fingerprints_of(images: ImageSet, batch_size: int = 64) -> tuple[tuple[str, ...], Fingerprints | None]:
    """Ids and fingerprints of the readable images; None where there are none."""
    ids, parts = list[str](), []
    for batch in prepared_batches(images, _SIDE, batch_size):
        if batch.ids:
            ids += batch.ids
            parts.append(fingerprint(batch.pixels))
    return tuple(ids), Fingerprints.joined(parts) if parts else None


def find_leaks(training: ImageSet, tests: Mapping[str, ImageSet]) -> dict[str, tuple[Leak, ...]]:
    """Leaks of each test set, one for each of its images that has a counterpart among the training images.

    Args:
        training: what a classifier was trained on.
        tests: test sets by name.
    """
    names, known = fingerprints_of(training)
    found = dict[str, tuple[Leak, ...]]()
    for name, images in tests.items():
        ids, seen = fingerprints_of(images)
        leaks = dict[str, Leak]()
        if seen is not None and known is not None:
            pairs = across(seen, known)
            rows = sorted(zip(pairs.distance.tolist(), pairs.first.tolist(), pairs.second.tolist(), strict=True))
            for distance, first, second in rows:
                leaks.setdefault(ids[first], Leak(ids[first], names[second], distance))
        found[name] = tuple(leaks.values())
    return found
