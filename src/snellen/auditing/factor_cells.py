"""Images by several groups at once: values of one factor, and pairs of values of two, with what they compare with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from snellen.auditing.gaps import ErrorGap, error_gap
from snellen.checks.per_image import PerImage, rows_of
from snellen.core.factors import subject_of
from snellen.metrics.power import detectable_drop

#: Independent units that a pair of values, and each set that it is compared with, must have.
FEWEST = 10

#: A drop of accuracy that must be found in nine of ten cases for a cell to count as judged.
JUDGED_DROP = 0.2

#: P value up to which a cell of few units is called unclear: together with others it may be a finding.
UNCLEAR = 0.05


@dataclass(frozen=True, eq=False)
class Cell:
    """Images that share a value of one factor, or values of two.

    Attributes:
        levels: factor and value, one or two.
        member: bool (n,), its images.
        among: bool (n,) each, the images that it is compared within: of one value all whose factor is known; of a pair
            those of the first value and those of the second.
    """

    levels: tuple[tuple[str, str], ...]
    member: NDArray[np.bool_]
    among: tuple[NDArray[np.bool_], ...]

    @property
    def subject(self) -> str:
        """How a finding names it."""
        return subject_of(self.levels)

    @property
    def factors(self) -> tuple[str, ...]:
        """Names of its factors."""
        return tuple(name for name, _ in self.levels)


@dataclass(frozen=True, eq=False)
class JudgedCell:
    """A cell with what the errors of its images say.

    Attributes:
        cell: the images.
        units: independent ones among them.
        gaps: beside each set that it is compared with; none where that is impossible.
        rests: independent units of each of these sets without its images.
        why_not: why it is not compared; None: it is.
        alpha: level that the first of all hypotheses on cells must reach.
    """

    cell: Cell
    units: int
    gaps: tuple[ErrorGap, ...] = ()
    rests: tuple[int, ...] = ()
    why_not: str | None = None
    alpha: float = 0.0

    @cached_property
    def drop(self) -> float | None:
        """Drop of accuracy that would be found in nine of ten cases; None: not even a loss of all."""
        drops = [
            detectable_drop(self.units, rest, 1 - gap.outside, self.alpha)
            for gap, rest in zip(self.gaps, self.rests, strict=True)
        ]
        known = [drop for drop in drops if drop is not None]
        return max(known) if known and len(known) == len(drops) else None

    def at(self, alpha: float) -> JudgedCell:
        """The same at another level: what a cell loses does not depend on it."""
        return replace(self, alpha=alpha)

    @property
    def p_value(self) -> float:
        """Of "no worse than at least one of the sets that it is compared with": the larger one."""
        return max(gap.p_value for gap in self.gaps)

    def harm(self, confidence: float, images: int) -> float:
        """Lower bound of the share of all images that is lost: a cell must be worse than each set."""
        least = min(gap.lower(confidence) for gap in self.gaps)
        return max(least, 0.0) * self.gaps[0].inside_n / images

    @property
    def verdict(self) -> str:
        """In words: no cell is called right, only judged or not."""
        if self.why_not is not None:
            return self.why_not
        if self.p_value <= self.alpha:
            return "worse"
        if self.drop is not None and self.drop <= JUDGED_DROP:
            return "judged"
        return "unclear" if self.p_value <= UNCLEAR else "too few to judge"


def single_cells(images: PerImage) -> list[Cell]:
    """Images of each value of each factor."""
    found = []
    for name, values in images.factors.items():
        known = np.array([value is not None for value in values], dtype=bool)
        for value, rows in sorted(rows_of(values).items()):
            found.append(Cell(((name, value),), _mask(rows, len(images)), (known,)))
    return found


def pair_cells(singles: Sequence[Cell]) -> list[Cell]:
    """Images of each pair of values of two factors, those without an image too."""
    by_factor: dict[str, list[Cell]] = {}
    for one in singles:
        by_factor.setdefault(one.factors[0], []).append(one)
    return [
        Cell((*a.levels, *b.levels), a.member & b.member, (a.member, b.member))
        for first, second in combinations(by_factor, 2)
        for a in by_factor[first]
        for b in by_factor[second]
    ]


def judged_cells(images: PerImage, cells: Sequence[Cell], rate: float) -> list[JudgedCell]:
    """Compare the errors of each cell with those of the sets that it lies in.

    Args:
        images: labelled ones.
        cells: of these images; those that can be compared are tested together.
        rate: false discovery rate: the first of them must reach it, divided by how many are tested.
    """
    found = [_judged(images, cell) for cell in cells]
    tested = sum(bool(one.gaps) for one in found)
    return [one.at(rate / max(tested, 1)) for one in found]


def _judged(images: PerImage, cell: Cell) -> JudgedCell:
    own = independent(images, cell.member)
    if not own:
        return JudgedCell(cell, 0, why_not="no images")
    pair = len(cell.levels) > 1
    if pair and own < FEWEST:
        return JudgedCell(cell, own, why_not="too few to judge")
    rests = [independent(images, among & ~cell.member) for among in cell.among]
    if pair and min(rests) < FEWEST:
        place = rests.index(min(rests))
        name, value = cell.levels[place]
        return JudgedCell(cell, own, why_not=f"not separable: {name}={value} has too few images elsewhere")
    gaps, lost = list[ErrorGap](), images.weighed
    for among in cell.among:
        gap = error_gap(
            ~images.correct[among],
            cell.member[among],
            images.units_of(among),
            None if lost is None else lost[among],
        )
        if gap is None:
            return JudgedCell(cell, own, why_not="all images have this value")
        gaps.append(gap)
    return JudgedCell(cell, own, tuple(gaps), tuple(rests))


def independent(images: PerImage, chosen: NDArray[np.bool_]) -> int:
    """Units among some images."""
    units = images.units_of(chosen)
    return int(chosen.sum()) if units is None else len(np.unique(units))


def pairs_of(images: PerImage) -> Mapping[str, tuple[str | None, ...]]:
    """Values of each factor, and of each pair of factors where both are known."""
    found = dict(images.factors)
    for first, second in combinations(images.factors, 2):
        rows = zip(images.factors[first], images.factors[second], strict=True)
        found[f"{first} × {second}"] = tuple(None if a is None or b is None else f"{a}, {b}" for a, b in rows)
    return found


def _mask(rows: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    found = np.zeros(count, dtype=bool)
    found[rows] = True
    return found
