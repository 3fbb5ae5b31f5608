"""What a check listed of each image or object in both runs, paired by name: losses, and what changes do."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from numbers import Real

import numpy as np

from snellen.auditing.compare.difference import (
    Difference,
    Mean,
    Units,
    paired_difference,
    unpaired_difference,
)
from snellen.auditing.compare.pairing import Pair, Side, differing_parameters
from snellen.metrics.units import unit_codes

#: Name of the check for recovered triggers, and of its list.
BACKDOOR = "backdoor"

#: The reason for a change that both runs tried.
SAME_CHANGE = (
    "one recovered change, tried on the same images with both models; whether another change does the same is what "
    "each run's own search says"
)

#: The reason for changes that only one run tried each.
OWN_CHANGES = (
    "not paired: each run's own change, which sends {first:.1%} of {n} images, then {second:.1%} of {m}. The second "
    "search may have missed one. Audit with --set backdoor.earlier=RUN, the directory of the first run, and the same "
    "change is tried on both models"
)

#: Change → image → whether the change sends it to its class.
Changes = dict[str, dict[str, float]]


def listed_difference(pair: Pair, check: str, column: str) -> Difference | None:
    """Difference of a figure that is the mean of a column of ``lists/CHECK.json``, on the rows of both runs.

    Images that are not compared at all are left out; rows of other items, such as objects that are seen from several
    sides, are each their own unit.

    Args:
        pair: the two runs.
        check: its name.
        column: of the list, and the rest of the name of the figure.

    Returns:
        None where the runs are not paired, or the list of either has no such column.
    """
    if not pair.paired:
        return None
    ours, theirs = (
        {
            str(row["id"]): float(row[column])
            for row in side.record.lists.get(check, ())
            if "id" in row and isinstance(row.get(column), Real)
        }
        for side in (pair.first, pair.second)
    )
    ids = sorted((ours.keys() & theirs.keys()) - _left_out(pair))
    if not ids:
        return None
    first, second = (Mean(np.array([values[key] for key in ids])) for values in (ours, theirs))
    return paired_difference(first, second, _units(pair, ids))


def compare_backdoors(pair: Pair) -> dict[str, Difference]:
    """Share of images of other classes that a recovered change sends to its class, by key.

    A change that both runs tried is compared image by image; of several, the one that does most in the first run. Else
    the own changes of both runs towards the class are compared unpaired, and the remark says so.
    """
    sides = pair.first, pair.second
    if not all(BACKDOOR in side.record.parameters for side in sides):
        return {}
    tried, own = [_sent(side, own=False) for side in sides], [_sent(side, own=True) for side in sides]
    alike = BACKDOOR not in differing_parameters(pair.first.record, pair.second.record)
    found = {}
    for name in sorted(tried[0].keys() & tried[1].keys()):
        difference = _same_change(pair, tried[0][name], tried[1][name])
        if difference is None and alike and name in own[0] and name in own[1]:
            first, second = (Mean(np.array(list(one[name][_strongest(one[name])].values()))) for one in own)
            words = OWN_CHANGES.format(
                first=first.value, n=len(first.values), second=second.value, m=len(second.values)
            )
            difference = replace(unpaired_difference(first, second, None, None), remark=words)
        if difference is not None:
            found[f"{BACKDOOR}:{name}"] = difference
    return found


def _same_change(pair: Pair, first: Changes, second: Changes) -> Difference | None:
    """Of the strongest change that both runs tried; None where there is none, or no image is left."""
    shared = {key: outcomes for key, outcomes in first.items() if key in second}
    if not shared:
        return None
    chosen = _strongest(shared)
    ours, theirs = first[chosen], second[chosen]
    if not pair.paired:
        return unpaired_difference(
            Mean(np.array(list(ours.values()))), Mean(np.array(list(theirs.values()))), None, None
        )
    ids = sorted((ours.keys() & theirs.keys()) - _left_out(pair))
    if not ids:
        return None
    before, after = (Mean(np.array([values[key] for key in ids])) for values in (ours, theirs))
    return replace(paired_difference(before, after, _units(pair, ids)), remark=SAME_CHANGE)


def _sent(side: Side, *, own: bool) -> dict[str, Changes]:
    """What each change does, by class; ``own``: of the changes alone that this very run recovered."""
    found: dict[str, Changes] = defaultdict(lambda: defaultdict(dict))
    for row in side.record.lists.get(BACKDOOR, ()):
        if {"change", "class", "id", "with"} <= row.keys() and not (own and row.get("earlier")):
            found[str(row["class"])][str(row["change"])][str(row["id"])] = float(row["with"] == row["class"])
    return found


def _strongest(changes: Changes) -> str:
    return max(sorted(changes), key=lambda key: float(np.mean(list(changes[key].values()))))


def _left_out(pair: Pair) -> set[str]:
    """Images of either run that are not compared."""
    return {*pair.first.record.images.ids, *pair.second.record.images.ids} - {*pair.first.images.ids}


def _units(pair: Pair, ids: list[str]) -> Units:
    of = dict(zip(pair.first.images.ids, pair.first.images.unit_ids or pair.first.images.ids, strict=True))
    names = [of.get(key, key) for key in ids]
    return None if len(set(names)) == len(names) else unit_codes(names)
