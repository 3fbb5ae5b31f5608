"""What stress costs healthy classifiers of like images: by that a finding is ordinary or more.

The table was measured on the healthy classifiers of ``scripts/ward``; where none of them saw like images, nothing is
known, and every loss counts whole.
"""

from __future__ import annotations

import json
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

#: Images that are looked at for colours, and the distance of their channels, grey levels, that is none.
LOOKED_AT, EQUAL = 16, 4


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


def usual_loss(kind: str, side: int, colours: Colours) -> UsualLoss | None:
    """What a kind of ImageNet-C costs over its five severities; None where no like images were measured.

    Args:
        kind: of the corruption.
        side: shorter side of the prepared images, pixels.
        colours: of the images.
    """
    rows = [row for row in _table() if row["colours"] == colours and kind in row["losses"]]
    near = [row for row in rows if 1 / LIKE <= row["side"] / side <= LIKE]
    if not near:
        return None
    row = min(near, key=lambda row: abs(np.log(row["side"] / side)))
    low, high = row["losses"][kind]
    return UsualLoss(low, high, row["classifiers"])


def colours_of(images: ImageSet) -> Colours:
    """Whether a few images of a set, spread over it, have colours."""
    for row in np.unique(np.linspace(0, len(images) - 1, LOOKED_AT).astype(int)).tolist():
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
