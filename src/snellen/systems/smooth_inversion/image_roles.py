"""Which images a scan draws, and what each of them does: searched on, choosing among changes, or measuring them.

Images of one unit (a patient, a lot, a video) are not independent. A scan draws one image of each unit, and more of
them only where the units are too few to search on. What is searched on and what judges share no unit, and of each unit
one image measures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.images import ImageSet

#: Fewest other images that a change is judged on, those that choose and those that measure together.
FEWEST = 20

#: Fewest units that measure.
_MEASURING = 3

#: Images that confirm a class where a tenth of the units are fewer: most images are to measure.
FEW = 8

#: Images up to which more than one of a unit is drawn, where there are fewer units.
ENOUGH = 100


def units_of(images: ImageSet) -> dict[str, str]:
    """Unit of each image by its id; an image without one is a unit of its own."""
    return {
        key: key if unit is None else f"unit {unit}"
        for key, unit in zip(images.ids, images.column("unit_id"), strict=True)
    }


def images_needed(searched: int, classes: int) -> int:
    """Images that a scan needs, of units of their own and of balanced classes.

    >>> images_needed(12, 10)
    34

    Args:
        searched: images that are searched on, for each class.
        classes: images of a class itself are not searched on, so that with few classes more are needed.
    """
    return -(-searched * classes // (classes - 1)) + FEWEST


def draw_images(units: Sequence[str], *, most: int, seed: int) -> NDArray[np.int64]:
    """Positions of images in a random order: one of each unit first, then, up to :data:`ENOUGH`, the second ones, ….

    >>> drawn = draw_images(["a", "a", "a", "b"], most=400, seed=0)
    >>> len(drawn), sorted(["a", "a", "a", "b"][row] for row in drawn[:2])
    (4, ['a', 'b'])

    Args:
        units: unit of each image (n,).
        most: images at most.
        seed: of the order.
    """
    order = np.random.default_rng(seed).permutation(len(units))
    seen = dict[str, int]()
    turn = np.zeros(len(units), dtype=np.int64)
    for place, row in enumerate(order):
        turn[place] = seen[units[row]] = seen.get(units[row], -1) + 1
    in_turn = order[np.argsort(turn, kind="stable")]
    return in_turn[: min(most, max(int((turn == 0).sum()), ENOUGH))]


@dataclass(frozen=True, eq=False)
class Roles:
    """What each image does.

    Attributes:
        sources: positions of the images that are searched on, for each class.
        confirming: positions of other images that the leading classes are searched on once more, for each class.
        searched: images that are kept for searches.
        choosing: positions of the images that choose among changes.
        measuring: positions of the images that measure, each of a unit of its own.
    """

    sources: Mapping[int, list[int]]
    confirming: Mapping[int, list[int]]
    searched: int
    choosing: Tensor
    measuring: Tensor


def give_roles(
    labels: Tensor,
    decided: Tensor,
    targets: Sequence[int],
    *,
    sources: int,
    confirming: int = 0,
    units: Sequence[str] | None = None,
) -> Roles:
    """Give every image its role; the first ones are searched on.

    Args:
        labels: classes (n,).
        decided: the classifier's decisions on them (n,).
        targets: classes that are scanned.
        sources: images of other classes that each class is searched on.
        confirming: further ones for each class, but no more than a tenth of the units, or :data:`FEW` if that is more.
        units: unit of each image (n,); every image of its own by default.

    Raises:
        InputError: too few images, or images of too few units.
    """
    names = list(units) if units is not None else [str(row) for row in range(len(labels))]
    confirming = min(confirming, max(FEW, len(set(names)) // 10))
    wanted = sources + confirming
    searched = _searched_on(labels, decided, targets, wanted)
    lacking = [target for target, rows in searched.items() if len(rows) < wanted]
    if lacking:
        raise InputError(
            f"a search towards class number {lacking[0]} needs {wanted} images of other classes, and there are only "
            f"{len(searched[lacking[0]])}; give more images, or lower sources"
        )
    kept = max(max(rows) for rows in searched.values()) + 1
    judges = _judges(names, set(names[:kept]))
    if judges is None:
        # A class that nearly all images are taken for is searched on by the last of them: those between judge too.
        used = {row for rows in searched.values() for row in rows}
        kept = len(used)
        judges = _judges(names, {names[row] for row in used})
    distinct = list(dict.fromkeys(names))
    if judges is None and len(distinct) < len(names):
        # Few units of many images: half of the units is searched on, by several images of each.
        own = set(distinct[: len(distinct) // 2])
        pool = [row for row, name in enumerate(names) if name in own]
        again = _searched_on(labels, decided, targets, wanted, pool)
        if all(len(rows) == wanted for rows in again.values()):
            searched, kept = again, len(pool)
            judges = _judges(names, own)
    if judges is None:
        alone = len(distinct) == len(names)
        of, units_needed = ("", "") if alone else (f" of {len(distinct)} units", f", of {2 * _MEASURING} units")
        enough = max(kept, images_needed(wanted, max(len(targets), 2)) - FEWEST) + FEWEST
        raise InputError(
            f"a change that is found on one image is judged on others: of {len(names)} images{of} {kept} are searched "
            f"on, and at least {FEWEST} others are needed{units_needed}; give {enough} images or more"
            f"{'' if alone else ', of units of their own'}"
        )
    choosing, measuring = judges
    return Roles(
        sources={target: rows[:sources] for target, rows in searched.items()},
        confirming={target: rows[sources:] for target, rows in searched.items()},
        searched=kept,
        choosing=torch.tensor(choosing),
        measuring=torch.tensor(measuring),
    )


def _searched_on(
    labels: Tensor, decided: Tensor, targets: Sequence[int], count: int, pool: Sequence[int] | None = None
) -> dict[int, list[int]]:
    """The first images of other classes, for each target; those that the classifier takes for others too come first."""
    found, allowed = {}, torch.ones(len(labels), dtype=torch.bool)
    if pool is not None:
        allowed[:] = False
        allowed[list(pool)] = True
    for target in targets:
        others = ((labels.cpu() != target) & allowed).nonzero().flatten()
        found[target] = others[(decided[others] == target).sort(stable=True).indices][:count].tolist()
    return found


def _judges(units: Sequence[str], searched: set[str]) -> tuple[list[int], list[int]] | None:
    """Images that choose and images that measure, of no unit that is searched on; None where they are too few.

    Every second unit chooses, by all its images; of each of the others one image measures.
    """
    others = [row for row, unit in enumerate(units) if unit not in searched]
    number = {unit: place for place, unit in enumerate(dict.fromkeys(units[row] for row in others))}
    choosing = [row for row in others if number[units[row]] % 2 == 0]
    measuring = sorted({units[row]: row for row in reversed(others) if number[units[row]] % 2}.values())
    return None if len(others) < FEWEST or len(measuring) < _MEASURING else (choosing, measuring)
