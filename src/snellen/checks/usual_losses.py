"""What stress costs healthy classifiers of like images: by that a finding is ordinary or more.

The table was measured on the healthy classifiers of ``scripts/ward``; where none of them saw like images, nothing is
known, and every loss counts whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

import numpy as np

from snellen.core.errors import RejectedImageError
from snellen.core.images import ImageSet

Colours = Literal["grey", "colour"]

#: Images of a side up to so many times larger or smaller are like images.
LIKE = 1.5

#: Images that are examined for colours, and the distance of their channels, grey levels, that is none.
SAMPLED, EQUAL = 16, 4


@dataclass(frozen=True)
class UsualLoss:
    """Accuracy that healthy classifiers lose under a stress, averaged over its severities: shares.

    Attributes:
        low: one in ten loses less.
        high: one in ten loses more.
        classifiers: how many were measured.
    """

    low: float
    high: float
    classifiers: int


def usual_losses(side: int, images: ImageSet) -> Mapping[str, UsualLoss]:
    """What each kind of ImageNet-C costs over its five severities; none where no like images were measured.

    Args:
        side: shorter side of the prepared images, pixels.
        images: a few of them are examined, where images of this size were measured at all.
    """
    near = [row for row in _table() if 1 / LIKE <= row["side"] / side <= LIKE]
    if not near:
        return {}
    colours = colours_of(images)
    alike = [row for row in near if row["colours"] == colours]
    if not alike:
        return {}
    row = min(alike, key=lambda row: abs(np.log(row["side"] / side)))
    return {kind: UsualLoss(low, high, row["classifiers"]) for kind, (low, high) in row["losses"].items()}


def colours_of(images: ImageSet) -> Colours:
    """Whether a few images of a set, spread over it, have colours."""
    for row in np.unique(np.linspace(0, len(images) - 1, SAMPLED).astype(int)).tolist():
        try:
            pixels = np.asarray(images.read(row), dtype=np.int16)
        except RejectedImageError:
            continue
        if pixels.ndim == 3 and int(np.ptp(pixels[..., :3], axis=-1).max()) > EQUAL:
            return "colour"
    return "grey"


@cache
def _table() -> list[dict]:
    source = resources.files("snellen.checks").joinpath("usual_losses.json")
    rows: list[dict] = json.loads(source.read_text(encoding="utf-8"))["rows"]
    return rows
