"""What two runs say of their images and not of their models: copies, leaks, constant images, suspect labels."""

from __future__ import annotations

from dataclasses import dataclass

from snellen.auditing.compare.comparison import FindingVerdict
from snellen.auditing.compare.pairing import Pair, differing_parameters
from snellen.auditing.compare.run_record import RunRecord
from snellen.core.finding import Finding

#: Check and fact of each kind that is counted and not tested.
COUNTED = {"duplicate": ("duplicates", "surplus_images"), "leakage": ("leakage", "images")}

#: The one finding of the check data_quality that is counted.
CONSTANT = "data_quality:constant images"


@dataclass(frozen=True)
class DataChange:
    """What became of a finding about the images, and from what that is read."""

    verdict: FindingVerdict
    reason: str


def compare_data_findings(pair: Pair) -> dict[str, DataChange]:
    """What became of the findings of either run that are counted, and of suspect labels, by key.

    Counts are exact and need no test: fewer are better, and none is mended. Of other images a lower count tells
    something only where it is not that of a smaller set, and the reason says what was counted where.
    """
    ours, theirs = ({one.key: one for one in side.record.report.findings} for side in (pair.first, pair.second))
    found = {}
    for key in dict.fromkeys((*ours, *theirs)):
        shown = ours.get(key) or theirs[key]
        if shown.kind in COUNTED or key == CONSTANT:
            change = _counted(shown, ours.get(key), theirs.get(key), pair)
            if change is not None:
                found[key] = change
        elif shown.kind == "label_noise":
            found[key] = _labels(pair, told_in_both=key in ours and key in theirs)
    return found


def count_verdict(before: int, after: int) -> FindingVerdict:
    """The word for a count; zero is a finding that is not told.

    >>> [count_verdict(*pair) for pair in ((3, 0), (3, 1), (3, 3), (3, 5), (0, 5))]
    ['mended', 'better', 'same', 'worse', 'new']
    """
    if after == before:
        return "same"
    if after < before:
        return "better" if after else "mended"
    return "worse" if before else "new"


def _counted(shown: Finding, before: Finding | None, after: Finding | None, pair: Pair) -> DataChange | None:
    """None where either run did not count, or counted otherwise."""
    check, fact = COUNTED.get(shown.kind, ("data_quality", "images"))
    records = pair.first.record, pair.second.record
    if check in differing_parameters(*records) or not all(check in record.parameters for record in records):
        return None
    counts = [0 if one is None else int(one.facts[fact]) for one in (before, after)]
    sizes = [int(record.report.data["used"]) for record in records]
    told = f"counted: {counts[0]} of {sizes[0]} images, then {counts[1]} of {sizes[1]}"
    verdict = count_verdict(*counts)
    if not pair.paired:
        told += "; the data differ"
        # Copies that are taken out make the set smaller by themselves, and by no more.
        if abs(sizes[1] - sizes[0]) > abs(counts[1] - counts[0]) and (
            (counts[1] < counts[0] and sizes[1] < sizes[0]) or (counts[1] > counts[0] and sizes[1] > sizes[0])
        ):
            verdict, told = "unclear", f"{told}, and the number of images explains the change"
    if shown.kind == "leakage" and _companion(records[0], "train") != _companion(records[1], "train"):
        told += "; the training images differ"
    if pair.paired and shown.subject.startswith("near") and counts[0] != counts[1]:
        told += "; near copies are confirmed in the features of each model"
    return DataChange(verdict, told)


def _labels(pair: Pair, *, told_in_both: bool) -> DataChange:
    if pair.paired:
        return DataChange(
            "same" if told_in_both else "unclear",
            "both runs have the same labels; only the model that judges them can have changed",
        )
    return DataChange(
        "unclear",
        "the data differ, and label_noise.share is not bounded from both sides in both runs",
    )


def _companion(record: RunRecord, name: str) -> str | None:
    return record.plan.get("companions", {}).get(name, {}).get("fingerprint")
