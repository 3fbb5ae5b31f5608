"""The picture of functional hashing: how many different candidates there are among those that a random search draws.

Nothing is trained: the candidates of each space are drawn, and their structures and functional keys are counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from snellen.core.progress import Silent
from snellen.reproduction.functional_hashing.experiment import SMALL, Experiment, drawn
from snellen.reproduction.shared.documents import Pictures
from snellen.runs.curve_picture import Curve, curve_picture
from snellen.systems.functional_hashing.searching import Proposer, Search
from snellen.systems.functional_hashing.space import Space

#: Numbers of candidates that are shown.
COUNTS = (10, 20, 50, 100, 200, 400)

SPACES = ("cells", "losses", "programs")


def distinct(values: Sequence[object], counts: Sequence[int]) -> list[tuple[int, int]]:
    """How many different values there are among the first of them.

    >>> distinct("aab", (1, 2, 3))
    [(1, 1), (2, 1), (3, 2)]
    """
    return [(count, len(set(values[:count]))) for count in counts]


def curves(spaces: Mapping[str, Space[Any]], seed: int, counts: Sequence[int]) -> list[Curve]:
    """Of each space: different structures and different functions, below the number of all candidates."""
    found = [Curve("candidates that are drawn", line=[(count, count) for count in counts])]
    for name, space in spaces.items():
        candidates = drawn(space, counts[-1], seed)
        search = Search(space, Proposer(space, "random"))
        values: dict[str, list[object]] = {
            "structures": [space.structure(one) for one in candidates],
            "functions": [search.key(one)[0] for one in candidates],
        }
        for kind, values_of in values.items():
            points = distinct(values_of, counts)
            found.append(Curve(f"{name}: different {kind}", points, points))
    return found


def draw_distinct(root: Path, target: Path) -> str:
    """Draw the spaces of the small experiment with the seed 0."""
    spaces = dict(zip(SPACES, Experiment(SMALL, 0, Silent()).spaces(), strict=True))
    shown = curves(spaces, 0, COUNTS)
    picture: Image.Image = curve_picture(shown, "candidates of a random search", "different ones among them")
    picture.save(target, "WEBP", lossless=True)
    return "; ".join(f"{curve.name}: {curve.points[-1][1]:.0f}" for curve in shown if curve.points)


PICTURES: Pictures = {"functional-hashing-distinct": draw_distinct}
