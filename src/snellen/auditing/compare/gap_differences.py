"""Errors of some images less those of the others: of groups, of images that a rule flags, and of slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from snellen.auditing.checks.data_quality import flagged_images
from snellen.auditing.compare.difference import Difference, Gap, Units, difference_of
from snellen.auditing.compare.pairing import Pair, Side
from snellen.auditing.factor_cells import FEWEST, Cell, pair_cells, single_cells

#: Why a difference is not paired though the runs are.
OTHER_MEMBERS = "not paired: other images belong to it in the second run"

#: A gap of one side, and the units of the images that it is of.
Placed = tuple[Gap, Units]


def compare_groups(pair: Pair) -> dict[str, Difference]:
    """Error of each group less that of the other groups, by key; images without a group count nowhere.

    Of several groups an image, by each value of each, beside the other values of the same; and by each pair of values,
    beside the images that have one of both.
    """
    if any(side.images.factors for side in (pair.first, pair.second)):
        return _compare_factors(pair)
    names = [{name for name in side.images.groups if name is not None} for side in (pair.first, pair.second)]
    found = {}
    for name in sorted(names[0] & names[1]):
        members = [np.array([group == name for group in side.images.groups]) for side in (pair.first, pair.second)]
        difference = _placed_difference(pair, members, [_grouped(side) for side in (pair.first, pair.second)])
        if difference is not None:
            found[f"group_gap:{name}"] = difference
    return found


def _compare_factors(pair: Pair) -> dict[str, Difference]:
    cells: list[dict[str, Cell]] = []
    for side in (pair.first, pair.second):
        singles = single_cells(side.images)
        cells.append({cell.subject: cell for cell in (*singles, *pair_cells(singles))})
    found = {}
    for subject in cells[0].keys() & cells[1].keys():
        both = [one[subject] for one in cells]
        members = [cell.member for cell in both]
        if min(int(member.sum()) for member in members) < (FEWEST if len(both[0].levels) > 1 else 1):
            continue
        among = [np.logical_or.reduce(cell.among) for cell in both]
        difference = _placed_difference(pair, members, among)
        if difference is not None:
            found[f"group_gap:{subject}"] = difference
    return dict(sorted(found.items()))


def compare_flagged_images(pair: Pair) -> dict[str, Difference]:
    """Error of the images that each rule of the check flags less that of the rest, by key.

    The rules use the prepared pixels and at the features of each model, which are in the evidence. On the same images
    those count that are flagged in either run: models may prepare images otherwise, and see them otherwise.
    """
    sides = pair.first, pair.second
    if not all("data_quality" in side.record.parameters for side in sides):
        return {}
    flagged = [_flagged(side) for side in sides]
    found = {}
    for name in sorted(flagged[0].keys() | flagged[1].keys()):
        members = [
            flags.get(name, np.zeros(len(side.images), dtype=bool)) for flags, side in zip(flagged, sides, strict=True)
        ]
        if pair.paired:
            members = [members[0] | members[1]] * 2
        difference = _placed_difference(pair, members, [side.images.labelled for side in sides])
        if difference is not None:
            found[f"data_quality:{name}"] = difference
    return found


def compare_slices(pair: Pair) -> dict[str, Difference]:
    """Error of the images of each slice that either run tested less that of the others, by key.

    Members are those that the run listed, on the half that did not propose the slice: the rule is one of features
    alone, so that this half has no part in the choice. All slices that were tested are compared, reported or not.
    """
    sides = pair.first, pair.second
    if not (pair.paired and all("slices" in side.record.parameters for side in sides)):
        return {}
    found: dict[str, Difference] = {}
    for side, which in zip(sides, ("first", "second"), strict=True):
        rows = {str(row.get("id")): row for row in side.record.lists.get("slices", ())}
        known = [rows.get(key, {}) for key in pair.first.images.ids]
        tested = np.array([bool(row.get("tested")) for row in known], dtype=bool)
        for name in sorted({str(name) for row in known for name in row.get("slices", ())}):
            member = np.array([name in row.get("slices", ()) for row in known], dtype=bool)
            difference = _placed_difference(pair, [member] * 2, [tested] * 2)
            if difference is not None and f"slice:{name}" not in found:
                found[f"slice:{name}"] = replace(
                    difference,
                    remark=f"its images as the {which} run found it, of the half that did not propose it. It was "
                    f"found because that run errs on them, so that a part of the difference may be chance",
                )
    return found


def _placed_difference(
    pair: Pair, members: Sequence[NDArray[np.bool_]], kept: Sequence[NDArray[np.bool_]]
) -> Difference | None:
    sides = pair.first, pair.second
    paired = pair.paired and np.array_equal(members[0], members[1])
    if paired:
        kept = [kept[0] & kept[1]] * 2
    gaps = [_gap(*one) for one in zip(sides, members, kept, strict=True)]
    if gaps[0] is None or gaps[1] is None:
        return None
    (first, first_units), (second, second_units) = gaps[0], gaps[1]
    found = difference_of(first, second, [first_units, second_units], paired=paired)
    return replace(found, remark=OTHER_MEMBERS) if pair.paired and not paired else found


def _gap(side: Side, member: NDArray[np.bool_], kept: NDArray[np.bool_]) -> Placed | None:
    inside = member[kept]
    if not inside.any() or inside.all():
        return None
    return Gap(1.0 - side.images.correct[kept].astype(np.float64), inside), side.images.units_of(kept)


def _grouped(side: Side) -> NDArray[np.bool_]:
    return np.array([group is not None for group in side.images.groups], dtype=bool)


def _flagged(side: Side) -> dict[str, NDArray[np.bool_]]:
    """Which of the compared images each rule flags, (n,): rules are relative to all images of the run."""
    images, found = side.record.images, dict[str, NDArray[np.bool_]]()
    for one in flagged_images(images, seed=int(side.record.plan.get("seed", 0))):
        flags = np.zeros(len(images), dtype=bool)
        flags[one.rows] = True
        found[one.name] = flags[side.rows]
    return found
