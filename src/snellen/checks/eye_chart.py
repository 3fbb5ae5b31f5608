"""The eye chart: what is left of a classifier's sight at each severity of each nuisance, and where it stops reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from snellen.metrics.clustered import clustered_mean

#: A line is read while the lower bound of the retained accuracy is at least this.
READABLE = 0.8

#: Severity of the largest letters' line, where nothing is done to the image.
UNCHANGED = 0.0


class Cell(BaseModel):
    """Share of the above-chance accuracy that is retained at one severity, with its 95 % interval.

    Attributes:
        severity: of the damage.
        retained: (accuracy − chance) / (clean accuracy − chance), on the same images.
        low: lower end of the 95 % interval.
        high: upper end.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    severity: float
    retained: float
    low: float
    high: float
    n: int = Field(description="images compared")

    @property
    def read(self) -> bool:
        """Whether the line can be read."""
        return self.low >= READABLE


class Acuity(BaseModel):
    """Severity up to which a classifier reads, interpolated between lines.

    ``low`` and ``high`` are where the ends of the interval of the retained accuracy pass :data:`READABLE`.
    ``censored``: the last line that was tested can still be read, so that the acuity is at least its severity.

    Attributes:
        value: severity at which the retained accuracy falls below 0.8.
        low: lower end of the 95 % interval.
        high: upper end.
        censored: whether the last line that was tested can still be read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    low: float
    high: float
    censored: bool


class Column(BaseModel):
    """One nuisance or threat: its cells by ascending severity, and the acuity for it.

    Attributes:
        name: of the nuisance or threat.
        check: that measured it.
        cells: by ascending severity.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    check: str
    cells: tuple[Cell, ...]
    acuity: Acuity | None = Field(None, description="None where a threat has one size only, no scale of severities")


class EyeChart(BaseModel):
    """All columns of an audit. ``chance`` is the accuracy of the best constant answer, or of guessing if more.

    Attributes:
        clean_accuracy: of the unchanged images.
        chance: accuracy of the best constant answer, or of guessing if more.
        columns: one for each nuisance or threat.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    clean_accuracy: float
    chance: float
    columns: tuple[Column, ...]

    @property
    def severities(self) -> tuple[float, ...]:
        """Severities of the lines, ascending."""
        return tuple(sorted({cell.severity for column in self.columns for cell in column.cells}))


def chance_level(labels: NDArray[np.int64], classes: int) -> float:
    """Accuracy of always giving the most frequent label, and at least that of guessing: labels (n,) → [0, 1].

    >>> chance_level(np.array([0, 0, 0, 1]), 2)
    0.75
    """
    return max(float(np.bincount(labels).max()) / len(labels), 1 / classes) if len(labels) else 1 / classes


def retained(
    before: NDArray[np.bool_],
    after: NDArray[np.bool_],
    chance: float,
    severity: float,
    units: NDArray[np.int64] | None = None,
) -> Cell | None:
    """(accuracy after − chance) / (accuracy before − chance) on the same images; None when before is no better.

    The interval of the ratio is that of its linearisation, (after_i − R before_i − (1 − R) chance) / (accuracy before −
    chance) with the ratio R, over independent units, with two more images, one lost and one gained.

    Args:
        before: (n,), whether each image is right when clean.
        after: (n,), whether it is right at this severity.
        chance: accuracy of a model that sees nothing.
        severity: of the cell.
        units: (n,), code of each image's unit; None when each is its own.
    """
    sight = float(before.mean()) - chance if len(before) else 0.0
    if sight <= 0:
        return None
    ratio = (float(after.mean()) - chance) / sight
    deviations = after - ratio * before - (1 - ratio) * chance
    found = clustered_mean(deviations, units, pseudo_units=1.0)
    spread = (found.interval(0.95).high - found.value) / sight
    return Cell(severity=severity, retained=ratio, low=ratio - spread, high=ratio + spread, n=len(before))


def acuity(cells: Sequence[Cell]) -> Acuity | None:
    """Where the retained accuracy first passes :data:`READABLE`, from the unchanged image on; None without cells."""
    if not cells:
        return None
    ordered = sorted(cells, key=lambda cell: cell.severity)
    severities = np.array([UNCHANGED, *(cell.severity for cell in ordered)])
    ends = {
        name: crossing(severities, np.array([1.0, *(getattr(cell, name) for cell in ordered)]))
        for name in ("retained", "low", "high")
    }
    last = float(severities[-1])
    value = last if ends["retained"] is None else ends["retained"]
    return Acuity(
        value=value,
        low=min(last if ends["low"] is None else ends["low"], value),
        high=last if ends["high"] is None else max(ends["high"], value),
        censored=ends["retained"] is None,
    )


def crossing(severities: NDArray[np.float64], values: NDArray[np.float64]) -> float | None:
    """First severity at which the line through the values falls below :data:`READABLE`; None if it does not.

    >>> crossing(np.array([0.0, 1.0, 2.0]), np.array([1.0, 0.9, 0.7]))
    1.5
    """
    below = np.flatnonzero(values < READABLE)
    if not len(below):
        return None
    place = int(below[0])
    if not place:
        return float(severities[0])
    share = (values[place - 1] - READABLE) / (values[place - 1] - values[place])
    return float(round(severities[place - 1] + share * (severities[place] - severities[place - 1]), 12))


def column(name: str, check: str, cells: Sequence[Cell | None], *, scale: bool = True) -> Column | None:
    """A column of those cells that are defined; None without any."""
    defined = tuple(cell for cell in cells if cell is not None)
    if not defined:
        return None
    return Column(name=name, check=check, cells=defined, acuity=acuity(defined) if scale else None)


def acuities(chart: EyeChart) -> Mapping[str, Acuity]:
    """Acuity by column, where there is one."""
    return {found.name: found.acuity for found in chart.columns if found.acuity is not None}
