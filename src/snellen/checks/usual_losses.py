"""What stress costs healthy classifiers of like images: by that a finding is ordinary or more.

The table was measured on the healthy classifiers of ``scripts/ward``; where none of them saw like images under damage
of the same strengths, nothing is known, and every loss counts whole.
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

#: The benchmark of rows that name none.
PUBLISHED = "imagenet-c"

#: Where it is not known what healthy classifiers lose under the same damage: all harm counts in the level.
NOT_COMPARED = "no healthy classifiers to compare with"

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
        side: of their images, pixels: strengths of damage depend on it.
    """

    low: float
    high: float
    classifiers: int
    side: int


def usual_losses(side: int, images: ImageSet, stress: str = PUBLISHED) -> Mapping[str, UsualLoss]:
    """What each kind of a stress costs over its severities; none where no like images were measured.

    Args:
        side: shorter side of the prepared images, pixels.
        images: a few of them are examined, where images of this size were measured at all.
        stress: what the healthy classifiers were measured under: a benchmark of damage, or a check with its default
            strengths.
    """
    rows = [row for row in _table() if row.get("benchmark", PUBLISHED) == stress]
    near = [row for row in rows if 1 / LIKE <= row["side"] / side <= LIKE]
    if not near:
        return {}
    colours = colours_of(images)
    alike = [row for row in near if row["colours"] == colours]
    if not alike:
        return {}
    row = min(alike, key=lambda row: abs(np.log(row["side"] / side)))
    return {kind: UsualLoss(low, high, row["classifiers"], row["side"]) for kind, (low, high) in row["losses"].items()}


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


def healthy_words(usual: UsualLoss | None) -> str:
    """What healthy classifiers lose, for the title of a finding.

    >>> healthy_words(UsualLoss(0.014, 0.2, 20, 28)), healthy_words(None)
    (' (healthy classifiers: 1 to 20)', ' (no healthy classifiers to compare with)')
    """
    return f" ({NOT_COMPARED if usual is None else f'healthy classifiers: {_range(usual)}'})"


def healthy_fact(usual: UsualLoss | None) -> str:
    """The same for the facts.

    >>> healthy_fact(UsualLoss(0.014, 0.2, 20, 28)), healthy_fact(None)
    ('1 to 20 points', 'none to compare with')
    """
    return "none to compare with" if usual is None else f"{_range(usual)} points"


@cache
def _table() -> list[dict]:
    source = resources.files("snellen.checks").joinpath("usual_losses.json")
    rows: list[dict] = json.loads(source.read_text(encoding="utf-8"))["rows"]
    return rows


def _range(usual: UsualLoss) -> str:
    return f"{100 * usual.low:.0f} to {100 * usual.high:.0f}"
