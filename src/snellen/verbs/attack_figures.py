"""The figures of an attack, made of its evidence: shares with intervals, distances, what was spent, and a verdict."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from snellen.core.evidence import Evidence
from snellen.core.outcomes import NOT_FINITE, PIXELS, ZERO_GRADIENT
from snellen.metrics.censored_median import censored_median
from snellen.metrics.clustered import clustered_share
from snellen.metrics.units import unit_codes
from snellen.runs.record import Figure
from snellen.verbs.attack_batches import NO_LABEL, OF_TARGET

#: Points of the curve of success against distance, at most.
POINTS = 32


class CurvePoint(BaseModel):
    """Share of the attacked images that were broken by a change of at most this distance.

    Attributes:
        distance: size of the change, in the attack's own norm.
        success_rate: share of the attacked images.
        low: lower end of the 95 % interval.
        high: upper end.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    distance: float
    success_rate: float
    low: float
    high: float


class AttackFigures(BaseModel):
    """What one attack found.

    Attributes:
        method: the method and its parameters.
        robust_accuracy: share of the images that are right and for which nothing was found, among all with a label
            whose search was not lost; it includes the images that were wrong from the start, which are not attacked.
        success_rate: among the attacked images, which were right.
        success_rate_8_bits: the same after rounding the images to bytes; of none where a layer was changed.
        median_distance: of the attacked images in the attack's own norm, those without a success beyond all others;
            None where that is the median.
        curve: success against distance.
        reasons: how many images ended how.
        queries: images sent through the model by the attack, in all.
        gradients: the same for gradients.
        queries_per_image, gradients_per_image: mean over the attacked images; None where none was attacked.
        verdict: in words.
        doubts: what speaks against relying on this result, in words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: dict[str, object]
    robust_accuracy: Figure
    success_rate: Figure
    success_rate_8_bits: Figure
    median_distance: Figure
    curve: tuple[CurvePoint, ...]
    reasons: dict[str, int]
    queries: int
    gradients: int
    queries_per_image: float | None
    gradients_per_image: float | None
    verdict: str
    doubts: tuple[str, ...] = ()


def clean_accuracy(clean: Evidence) -> Figure:
    """Share of unchanged images that are right, among those with a label."""
    right = clean.table["right"].to_pylist()
    known = np.array([value is not None for value in right], dtype=bool)
    return _share(np.array([bool(value) for value in right])[known], _units(clean), known)


def attack_figures(
    evidence: Evidence, clean: Evidence, method: dict[str, object], doubts: Sequence[str] = ()
) -> AttackFigures:
    """Figures of one attack.

    Args:
        evidence: its rows, in the order of the clean ones.
        clean: rows of the unchanged images.
        method: its record.
        doubts: what speaks against the result.
    """
    table = evidence.table
    units = _units(evidence)
    reasons: list[str] = table["reason"].to_pylist()
    success = np.array([-1 if value is None else int(value) for value in table["success"].to_pylist()])
    saved = np.array([-1 if value is None else int(value) for value in table["success_8_bits"].to_pylist()])
    attacked, rounded = success >= 0, saved >= 0
    (place,) = {value for value in table["place"].to_pylist() if value is not None} or {PIXELS}
    counted = np.array([reason not in (NO_LABEL, OF_TARGET, NOT_FINITE) for reason in reasons], dtype=bool)
    distances = np.array([math.inf if value is None else value for value in table["value"].to_pylist()])
    queries, gradients = (_total(table[name].to_pylist()) for name in ("queries", "gradients"))
    searched = table["queries"].length() - table["queries"].null_count
    return AttackFigures(
        method=method,
        robust_accuracy=_share(success[counted] == 0, units, counted),
        success_rate=_share(success[attacked] == 1, units, attacked),
        success_rate_8_bits=_share(saved[rounded] == 1, units, rounded),
        median_distance=_median(distances[attacked], units, attacked),
        curve=_curve(distances[attacked], units, attacked),
        reasons=dict(sorted(Counter(reasons).items())),
        queries=queries,
        gradients=gradients,
        queries_per_image=queries / searched if searched else None,
        gradients_per_image=gradients / searched if searched else None,
        verdict=verdict(
            int((success == 1).sum()),
            int(attacked.sum()),
            zero_gradients=reasons.count(ZERO_GRADIENT),
            place=place,
            lost=reasons.count(NOT_FINITE),
        ),
        doubts=tuple(doubts),
    )


def verdict(found: int, attacked: int, zero_gradients: int = 0, place: str = PIXELS, lost: int = 0) -> str:
    """What was found, in words that claim no more.

    >>> verdict(0, 12)
    'no adversarial image found within budget for any of 12 attacked images'
    >>> verdict(5, 12, zero_gradients=3)[-99:]
    'within budget for the other 7; for 3 of these every gradient was exactly zero: the search was blind'
    """
    if not attacked and lost:
        return f"nothing is known: all {lost} searches met scores that are not finite"
    if not attacked:
        return "no image was attacked: none that can be was right from the start"
    what = "adversarial image" if place == PIXELS else f"adversarial change of the layer {place},"
    if not found:
        sentence = f"no {what} found within budget for any of {attacked} attacked images"
    elif found == attacked:
        return f"an {what} found for each of {attacked} attacked images"
    else:
        sentence = f"an {what} found for {found} of {attacked} attacked images, none within budget for the "
        sentence += f"other {attacked - found}"
    return (
        f"{sentence}; for {zero_gradients} of these every gradient was exactly zero: the search was blind"
        if zero_gradients
        else sentence
    )


def _units(evidence: Evidence) -> NDArray[np.int64] | None:
    """Code of the unit of each row; None when each image is a unit of its own."""
    units = evidence.table["unit_id"].to_pylist()
    return None if len(set(units)) == len(units) else unit_codes(units)


def _share(values: NDArray[np.bool_], units: NDArray[np.int64] | None, chosen: NDArray[np.bool_]) -> Figure:
    if not len(values):
        return Figure(value=None, low=None, high=None, n=0)
    low, high = clustered_share(values, None if units is None else units[chosen])
    return Figure(value=float(values.mean()), low=low, high=high, n=len(values))


def _median(distances: NDArray[np.float64], units: NDArray[np.int64] | None, chosen: NDArray[np.bool_]) -> Figure:
    if not len(distances):
        return Figure(value=None, low=None, high=None, n=0)
    ends = (None if math.isinf(v) else v for v in censored_median(distances, None if units is None else units[chosen]))
    value, low, high = ends
    return Figure(value=value, low=low, high=high, n=len(distances))


def _curve(
    distances: NDArray[np.float64], units: NDArray[np.int64] | None, chosen: NDArray[np.bool_]
) -> tuple[CurvePoint, ...]:
    """Success against distance at distances that were found, evenly spread over the images."""
    # Changes that fill the same ball differ in the last digits only, and are one point.
    found = np.unique([float(f"{distance:.5g}") for distance in distances[np.isfinite(distances)]])
    if not len(found):
        return ()
    places = np.unique(np.linspace(0, len(found) - 1, min(POINTS, len(found))).round().astype(np.int64))
    points = []
    for distance in found[places].tolist():
        within = distances <= distance * (1 + 1e-5)
        low, high = clustered_share(within, None if units is None else units[chosen])
        points.append(CurvePoint(distance=distance, success_rate=float(within.mean()), low=low, high=high))
    return tuple(points)


def _total(counts: Sequence[int | None]) -> int:
    return sum(count for count in counts if count is not None)
