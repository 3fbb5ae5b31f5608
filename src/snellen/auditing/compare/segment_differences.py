"""What changed between two audits of segmenters: overlaps by class, group, corruption and attack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from snellen.auditing.compare.difference import Difference, OfWeights, difference_of
from snellen.auditing.compare.pairing import Pair, Side
from snellen.auditing.overlap_rows import PARTS, UNCHANGED, compared_with
from snellen.checks.per_image import read_array
from snellen.core.evidence import Evidence
from snellen.core.factors import groupings
from snellen.metrics.segmentation import weighted_overlap
from snellen.metrics.sweep import setting_name
from snellen.metrics.weighted import WeightedStatistic

#: Name of the check, and first part of its figures.
CHECK = "segmentation"

#: Pixels right, true and decided of each class in each setting, (n, 3, k), to a figure.
Made = Callable[[Sequence[NDArray[np.int64]]], WeightedStatistic]


def segmenters(pair: Pair) -> bool:
    """Whether both runs audited a model that decides each pixel."""
    return bool(pair.first.record.report.model["task"] == "segment")


def overlap_difference(name: str, pair: Pair, resamples: int) -> Difference | None:
    """Difference of a figure of the check by its dotted name; None where it cannot be had from the evidence."""
    what = name.removeprefix(f"{CHECK}.")
    kind, _, rest = what.partition(".")
    if what == "miou":
        return _difference(pair, [UNCHANGED], _mean, resamples)
    if kind == "class":
        return _difference(pair, [UNCHANGED], _of_class(pair, rest.removesuffix(".iou")), resamples)
    if kind == "group":
        return _difference(pair, [UNCHANGED], _mean, resamples, group=rest.removesuffix(".miou"))
    return _difference(pair, [rest.removesuffix(".miou")], _mean, resamples)


def overlap_quantities(pair: Pair, *, resamples: int) -> dict[str, Difference]:
    """Quantities behind findings of the check, by key; a rise is worse.

    ``accuracy`` 1 − mIoU; ``worst_class:NAME`` mean of the other classes less its own; ``group_gap:NAME`` 1 − mIoU of
    the group; ``corruption:KIND`` mIoU lost, on average over the severities; ``adversarial:SETTING`` mIoU lost.
    """
    wanted: dict[str, tuple[list[str], Made, str | None]] = {"accuracy": ([UNCHANGED], _error, None)}
    for name in pair.first.record.class_names:
        wanted[f"worst_class:{name}"] = ([UNCHANGED], _behind(pair, name), None)
    parameters = [side.record.parameters.get(CHECK, {}) for side in (pair.first, pair.second)]
    names = [one for one in pair.first.record.report.metrics if one in pair.second.record.report.metrics]
    for name in names:
        kind, _, rest = name.removeprefix(f"{CHECK}.").partition(".")
        if kind == "group":
            group = rest.removesuffix(".miou")
            wanted[f"group_gap:{group}"] = ([UNCHANGED], _error, group)
        elif kind == "attack":
            setting = rest.removesuffix(".miou")
            wanted[f"adversarial:{setting}"] = ([UNCHANGED, setting], _lost, None)
        elif kind == "corruption" and parameters[0].get("severities") == parameters[1].get("severities"):
            corruption = rest.partition(".")[0]
            settings = [setting_name(corruption, severity) for severity in parameters[0]["severities"]]
            wanted[f"corruption:{corruption}"] = ([UNCHANGED, *settings], _lost, None)
    found = {
        key: _difference(pair, settings, made, resamples, group=group)
        for key, (settings, made, group) in wanted.items()
    }
    return {key: one for key, one in found.items() if one is not None}


@dataclass(frozen=True, eq=False)
class _Measured:
    """The images of a side that were measured in all of some settings: ids, units, and pixels by setting."""

    ids: tuple[str, ...]
    rows: NDArray[np.int64]
    parts: list[NDArray[np.int64]]


def _difference(
    pair: Pair, settings: list[str], made: Made, resamples: int, *, group: str | None = None
) -> Difference | None:
    sides = [_measured(side, settings, pair.first.record.class_names, group) for side in (pair.first, pair.second)]
    if pair.paired:
        shared = set(sides[0].ids) & set(sides[1].ids)
        sides = [_among(side, shared) for side in sides]
    if min(len(side.ids) for side in sides) < 2:
        return None
    units = [one.images.units_of(side.rows) for one, side in zip((pair.first, pair.second), sides, strict=True)]
    estimates = [OfWeights(made(side.parts), len(side.ids), resamples) for side in sides]
    if not all(np.isfinite(one.value) for one in estimates):
        return None
    return difference_of(estimates[0], estimates[1], units, paired=pair.paired)


def _measured(side: Side, settings: list[str], names: tuple[str, ...], group: str | None) -> _Measured:
    evidence = side.record.evidence.get(CHECK, Evidence.merge([]))
    known = pa.array(side.images.ids, pa.string())
    held, parts = np.ones(len(side.images), dtype=np.bool_), list[NDArray[np.int64]]()
    if group is not None:
        each = groupings(side.images.groups, side.images.factors)
        held &= np.array([group in one for one in zip(*each, strict=True)], dtype=np.bool_)
    own = side.record.class_names
    order = [own.index(name) for name in names]
    for setting in dict.fromkeys(settings):
        table = evidence.where(setting=setting, status="ok").table
        table = table.filter(pc.is_in(table["example_id"], known))
        read = read_array(table, PARTS)
        values, seen = np.zeros((len(side.images), 3, len(own)), dtype=np.int64), np.zeros_like(held)
        if read is not None:
            places = pc.index_in(table["example_id"], known).to_numpy().astype(np.int64)
            values[places], seen[places] = read.reshape(len(table), 3, len(own)), True
        parts.append(values[:, :, order])
        held &= seen
    rows = np.flatnonzero(held)
    return _Measured(tuple(side.images.ids[row] for row in rows), rows, [one[rows] for one in parts])


def _among(side: _Measured, shared: set[str]) -> _Measured:
    kept = np.array([key in shared for key in side.ids], dtype=np.bool_)
    ids = tuple(key for key in side.ids if key in shared)
    return _Measured(ids, side.rows[kept], [one[kept] for one in side.parts])


def _mean(parts: Sequence[NDArray[np.int64]]) -> WeightedStatistic:
    return weighted_overlap(parts[0])


def _error(parts: Sequence[NDArray[np.int64]]) -> WeightedStatistic:
    overlap = weighted_overlap(parts[0])
    return lambda weights: 1.0 - overlap(weights)


def _lost(parts: Sequence[NDArray[np.int64]]) -> WeightedStatistic:
    before, after = weighted_overlap(parts[0]), [weighted_overlap(one) for one in parts[1:]]
    return lambda weights: before(weights) - float(np.mean([one(weights) for one in after]))


def _of_class(pair: Pair, name: str) -> Made:
    label = pair.first.record.class_names.index(name)
    return lambda parts: weighted_overlap(parts[0], label)


def _behind(pair: Pair, name: str) -> Made:
    names = pair.first.record.class_names
    label = names.index(name)
    compared = compared_with(label, names)

    def made(parts: Sequence[NDArray[np.int64]]) -> WeightedStatistic:
        own, others = weighted_overlap(parts[0], label), weighted_overlap(parts[0][:, :, compared])
        return lambda weights: others(weights) - own(weights)

    return made
