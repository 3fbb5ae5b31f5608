"""Images that go together, known groups and images in trouble: their gap to the others in both runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from snellen.auditing.compare.difference import Difference, paired_difference, unpaired_difference
from snellen.auditing.compare.estimate import Gap, Units
from snellen.auditing.compare.pairing import Pair, Side
from snellen.metrics.inspection.quality import quality_issues

#: A gap of one side, and the units of the images that it is of.
Placed = tuple[Gap, Units]


def compare_groups(pair: Pair) -> dict[str, Difference]:
    """Error of each group less that of the other groups, by key; images without a group count nowhere."""
    names = [{name for name in side.images.groups if name is not None} for side in (pair.first, pair.second)]
    found = {}
    for name in sorted(names[0] & names[1]):
        members = [np.array([group == name for group in side.images.groups]) for side in (pair.first, pair.second)]
        difference = _difference(pair, members, [_grouped(side) for side in (pair.first, pair.second)])
        if difference is not None:
            found[f"group_gap:{name}"] = difference
    return found


def compare_troubles(pair: Pair) -> dict[str, Difference]:
    """Error of the images of each trouble less that of the rest, by key.

    The trouble is one of the prepared pixels and found again in the evidence. On the same images those count that have
    it in either run, since models may prepare images otherwise.
    """
    sides = pair.first, pair.second
    if not all("data_quality" in side.record.parameters for side in sides):
        return {}
    flagged = [_troubled(side) for side in sides]
    found = {}
    for name in sorted(flagged[0].keys() | flagged[1].keys()):
        members = [
            flags.get(name, np.zeros(len(side.images), dtype=bool)) for flags, side in zip(flagged, sides, strict=True)
        ]
        if pair.paired:
            members = [members[0] | members[1]] * 2
        difference = _difference(pair, members, [side.images.labelled for side in sides])
        if difference is not None:
            found[f"data_quality:{name}"] = difference
    return found


def _difference(
    pair: Pair, members: Sequence[NDArray[np.bool_]], kept: Sequence[NDArray[np.bool_]]
) -> Difference | None:
    sides = pair.first, pair.second
    if pair.paired and np.array_equal(members[0], members[1]):
        kept = [kept[0] & kept[1]] * 2
        paired = True
    else:
        paired = False
    gaps = [_gap(*one) for one in zip(sides, members, kept, strict=True)]
    if gaps[0] is None or gaps[1] is None:
        return None
    (first, first_units), (second, second_units) = gaps[0], gaps[1]
    if paired:
        return paired_difference(first, second, first_units)
    return unpaired_difference(first, second, first_units, second_units)


def _gap(side: Side, member: NDArray[np.bool_], kept: NDArray[np.bool_]) -> Placed | None:
    inside = member[kept]
    if not inside.any() or inside.all():
        return None
    return Gap(1.0 - side.images.correct[kept].astype(np.float64), inside), side.images.units_of(kept)


def _grouped(side: Side) -> NDArray[np.bool_]:
    return np.array([group is not None for group in side.images.groups], dtype=bool)


def _troubled(side: Side) -> dict[str, NDArray[np.bool_]]:
    """Which of the compared images have each trouble, (n,): rules are relative to all images of the run."""
    properties = side.record.images.properties
    if properties is None:
        return {}
    found: dict[str, NDArray[np.bool_]] = {}
    for issue in quality_issues(properties):
        flags = np.zeros(len(side.record.images), dtype=bool)
        flags[issue.indices] = True
        found[issue.name] = flags[side.rows]
    return found
