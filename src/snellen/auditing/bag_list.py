"""Every bag of an audit by name, also those that nothing could be said of, and labels that contradict each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snellen.auditing.bag_table import BagTable, one_each
from snellen.checks.per_image import BAG, BAG_LABEL, GROUP, PerImage, rows_of
from snellen.core.finding import Finding, FindingExample
from snellen.core.images import ImageSet


@dataclass(frozen=True)
class WholeBag:
    """A bag of the image set, whether or not its images could be used.

    Attributes:
        images: how many it has.
        label: its class; None where unknown.
        unit: its patient; None where unknown.
        group: of its first image that has one.
    """

    images: int
    label: int | None
    unit: str | None
    group: str | None


def whole_bags(images: ImageSet) -> dict[str, WholeBag]:
    """The bags of a set by id, in the order in which their first images come.

    Raises:
        InputError: a bag of two labels or two units.
    """
    labels, units, groups = (images.column(name) for name in (BAG_LABEL, "unit_id", GROUP))
    found = {}
    for bag, rows in rows_of([None if bag is None else str(bag) for bag in images.column(BAG)]).items():
        label = one_each(bag, BAG_LABEL, [None if labels[row] is None else int(str(labels[row])) for row in rows], -1)
        unit = one_each(bag, "unit_id", [None if units[row] is None else str(units[row]) for row in rows])
        group = next((str(groups[row]) for row in rows if groups[row] is not None), None)
        found[bag] = WholeBag(len(rows), label, unit, group)
    return found


def bag_rows(
    bags: BagTable, known: PerImage, whole: dict[str, WholeBag], names: tuple[str, ...]
) -> list[dict[str, object]]:
    """What becomes ``lists/bags.json``: a row for each bag, worst first, then the right ones, then those without score.

    A bag of which no image could be used has no score, no decision, and 0 images used.
    """
    place_of = {bag: place for place, bag in enumerate(bags.ids)}
    rows = []
    for bag, about in whole.items():
        row: dict[str, object] = {
            "id": bag,
            "unit": about.unit,
            "group": about.group,
            "label": None if about.label is None else names[about.label],
            "images": about.images,
            "used": 0,
            "score": None,
            "called_positive": None,
            "right": None,
        }
        if bag in place_of:
            row |= _scored(place_of[bag], bags, known)
        rows.append(row)
    return sorted(rows, key=lambda row: _order(row, bags.threshold))


def contradictions(
    bags: BagTable, known: PerImage, whole: dict[str, WholeBag], names: tuple[str, ...], examples: int
) -> Finding | None:
    """Negative bags with images labelled positive, and positive bags of which every image is labelled negative.

    Counted, not inferred: harm is the share of the labelled bags. A positive bag counts only where all of its images
    could be used and have labels: the positive one may be among the others.
    """
    name, found = names[bags.positive], list[tuple[int, int, str]]()
    for place in np.flatnonzero(bags.labelled).tolist():
        rows = bags.members[place]
        positive = rows[known.labels[rows] == bags.positive]
        if not bags.truth[place] and len(positive):
            found.append((place, int(positive[0]), f"labelled {name}, in bag {bags.ids[place]}, which is not"))
        complete = len(rows) == whole[bags.ids[place]].images and bool(known.labelled[rows].all())
        if bags.truth[place] and complete and not len(positive):
            found.append((place, int(bags.strongest[place]), f"in {name} bag {bags.ids[place]}, none of which is"))
    if not found:
        return None
    healthy = sum(not bags.truth[place] for place, _, _ in found)
    count, all_of = len(found), int(bags.labelled.sum())
    return Finding(
        kind="bag_contradiction",
        harm=count / all_of,
        title=f"{count} of {all_of} bags {'has' if count == 1 else 'have'} a label that their images contradict",
        facts={"bags": all_of, f"not_{name}_but_with_such_images": healthy, f"{name}_without": count - healthy},
        examples=tuple(
            FindingExample(example_id=known.ids[row], caption=caption) for _, row, caption in found[:examples]
        ),
        treatments=("correct the column bag_label, or the labels of the images: see lists/bags.json",),
    )


def _scored(place: int, bags: BagTable, known: PerImage) -> dict[str, object]:
    rows = bags.members[place]
    labelled = bool(bags.labelled[place])
    row: dict[str, object] = {
        "used": len(rows),
        "score": round(float(bags.scores[place]), 6),
        "called_positive": bool(bags.called[place]),
        "right": bool(bags.correct[place]) if labelled else None,
        "strongest_image": known.ids[bags.strongest[place]],
        "its_probability": round(float(bags.probabilities[bags.strongest[place]]), 6),
        "images_called_positive": int((known.predictions[rows] == bags.positive).sum()),
    }
    if known.labelled[rows].any():
        positive = known.labels[rows] == bags.positive
        row["positive_images"] = int(positive.sum())
        row["positive_images_found"] = int((positive & (known.predictions[rows] == bags.positive)).sum())
    return row


def _order(row: dict[str, object], threshold: float) -> tuple[int, float, str]:
    score = row["score"]
    if not isinstance(score, float):
        return 3, 0.0, str(row["id"])
    rank = {False: 0, True: 1, None: 2}[row["right"] if isinstance(row["right"], bool) else None]
    # Wrong bags furthest from the threshold first.
    return rank, -abs(score - threshold), str(row["id"])
