"""Which images of two runs are the same, and whether the runs can be compared at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from snellen.auditing.compare.difference import Units
from snellen.auditing.compare.run_record import RunRecord
from snellen.checks.per_image import ABSENT, PerImage
from snellen.core.errors import InputError
from snellen.core.evidence import Evidence

#: How a bag is decided from its images: it belongs to the model, as its weights do.
BAG_DECISION = frozenset({"pooling", "threshold"})

#: Parameters of a check that change no figure, or of which only what both runs have is compared.
HARMLESS = BAG_DECISION | {"examples", "resamples", "kinds", "severities", "threats", "declared", "reference", "shown"}


@dataclass(frozen=True, eq=False)
class Side:
    """One run, on the images that are compared.

    Attributes:
        record: the run.
        rows: positions of these images among all of the run, by ascending id, (n,).
        images: what is known of them; labels and decisions in the classes of the earlier run.
    """

    record: RunRecord
    rows: NDArray[np.int64]
    images: PerImage
    seen: dict[tuple[str, str], NDArray[np.int8]] = field(default_factory=dict, repr=False)

    def outcomes(self, check: str, setting: str) -> NDArray[np.int8]:
        """What became of each of these images in a setting, int8 (n,); absent where nothing was measured."""
        # Several figures rest on each setting, and finding its rows among all of them is slow.
        if (check, setting) not in self.seen:
            self.seen[check, setting] = self._read(check, setting)
        return self.seen[check, setting]

    def _read(self, check: str, setting: str) -> NDArray[np.int8]:
        evidence = self.record.evidence.get(check, Evidence.merge([]))
        if not len(evidence.where(setting=setting)):
            return np.full(len(self.rows), ABSENT, dtype=np.int8)
        return self.record.images.outcomes(evidence, setting)[self.rows]


@dataclass(frozen=True, eq=False)
class Pair:
    """Two runs that can be compared.

    Attributes:
        first: the earlier run.
        second: the later one.
        paired: whether both were made on the same images, which then stand in the same order.
        notes: what a reader must know.
    """

    first: Side
    second: Side
    paired: bool
    notes: tuple[str, ...]

    @property
    def units(self) -> Units:
        """Units of the shared images."""
        return self.first.images.units


def pair_runs(first: RunRecord, second: RunRecord) -> Pair:
    """Match the images of two runs by id when their data are the same to the byte; else compare unpaired.

    Raises:
        InputError: other classes, another task, or neither labelled images nor labelled bags in a run, or no image
            that both could use.
    """
    check_alike(first, second.class_names, str(second.report.model["task"]), names=("first run", "second run"))
    sides = [_labelled(record, first.class_names) for record in (first, second)]
    notes: list[str] = []
    for side, which in zip(sides, ("first", "second"), strict=True):
        if not len(side.rows):
            if not all(_knows_bags(record) for record in (first, second)):
                raise InputError(f"the {which} run measured no labelled image: there is nothing to compare")
            notes.append(f"No image of the {which} run has a label of its own: only decisions on bags are compared.")
    decisions = [record.parameters.get("bags", {}) for record in (first, second)]
    if all(decisions) and any(decisions[0].get(name) != decisions[1].get(name) for name in BAG_DECISION):
        told = [f"{one.get('pooling')}, positive from {one.get('threshold')} on" for one in decisions]
        notes.append(f"Bags are decided by {told[0]} in the first run, and by {told[1]} in the second.")
    if first.fingerprint != second.fingerprint:
        notes.append(
            f"The runs used other data ({len(sides[0].rows)} and {len(sides[1].rows)} labelled images), so that "
            f"nothing is paired: intervals are wide, and a difference may come from the images as well as from the "
            f"model."
        )
        return Pair(sides[0], sides[1], False, tuple(notes))
    ids = sorted(set(sides[0].images.ids) & set(sides[1].images.ids))
    if not ids and all(len(side.rows) for side in sides):
        raise InputError("not one image could be used in both runs; see rejected.json of each")
    alone = [len(side.rows) - len(ids) for side in sides]
    if any(alone):
        notes.append(
            f"Compared on the {len(ids)} images that both runs could use; {alone[0]} were used in the first alone and "
            f"{alone[1]} in the second alone."
        )
    if first.plan.get("seed") != second.plan.get("seed"):
        notes.append("The runs have other seeds: random corruptions and attacks differ between them.")
    shared = [_on(side, ids) for side in sides]
    return Pair(shared[0], shared[1], True, tuple(notes))


def check_alike(
    first: RunRecord, class_names: Sequence[str], task: str, *, names: tuple[str, str] = ("first run", "second run")
) -> None:
    """Refuse to compare a run with one of other classes, or of another task.

    Args:
        first: the earlier run.
        class_names: of the later one.
        task: of the later one.
        names: what the message calls the two.

    Raises:
        InputError: what differs.
    """
    missing, added = set(first.class_names) - set(class_names), set(class_names) - set(first.class_names)
    if missing or added:
        told = [
            f"{_listed(only)} only in the {name}" for only, name in zip((missing, added), names, strict=True) if only
        ]
        raise InputError(
            f"the {names[0]} and the {names[1]} have other classes: {'; '.join(told)}. No figure of one means the same "
            f"in the other; compare runs of the same classes"
        )
    earlier = first.report.model["task"]
    if earlier != task:
        raise InputError(
            f"the {names[0]} and the {names[1]} have other tasks ({earlier} and {task}): their figures mean other "
            f"things"
        )


def absence(check: str, record: RunRecord, which: str) -> str:
    """Why a run has nothing of a check."""
    status = next((one for one in record.report.checks if one.name == check), None)
    if status is None:
        return f"the check {check} did not run in the {which} run"
    if status.status == "failed":
        return f"the check {check} failed in the {which} run: {status.reason}"
    if status.status == "skipped":
        return f"the check {check} was skipped in the {which} run: it {status.reason}"
    return f"not measured in the {which} run"


def _listed(names: set[str]) -> str:
    """Three names, and how many more.

    >>> _listed({"cat", "dog", "owl", "fox", "cow"})
    'cat, cow, dog and 2 more'
    """
    shown = sorted(names)[:3]
    return ", ".join(shown) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def differing_parameters(first: RunRecord, second: RunRecord) -> dict[str, str]:
    """By check that both ran: why figures of it cannot be compared."""
    found = {}
    for check in first.parameters.keys() & second.parameters.keys():
        ours, theirs = first.parameters[check], second.parameters[check]
        names = sorted(name for name in {*ours, *theirs} - HARMLESS if ours.get(name, _NONE) != theirs.get(name, _NONE))
        if names:
            told = ", ".join(f"{name} {ours.get(name)} and {theirs.get(name)}" for name in names)
            found[check] = f"the check {check} had other parameters in the two runs ({told})"
    return found


_NONE = object()


def _labelled(record: RunRecord, class_names: tuple[str, ...]) -> Side:
    """The labelled images of a run by ascending id, in the given order of classes."""
    images = record.images
    order = sorted(np.flatnonzero(images.labelled).tolist(), key=lambda row: images.ids[row])
    return _side(record, np.array(order, dtype=np.int64), class_names)


def _knows_bags(record: RunRecord) -> bool:
    labels = record.images.bag_labels
    return labels is not None and bool((labels >= 0).any())


def _on(side: Side, ids: list[str]) -> Side:
    wanted = set(ids)
    kept = np.array([key in wanted for key in side.images.ids], dtype=bool)
    return Side(side.record, side.rows[kept], side.images.select(kept))


def _side(record: RunRecord, rows: NDArray[np.int64], class_names: tuple[str, ...]) -> Side:
    images = record.images.select(rows)
    if record.class_names != class_names:
        place = np.array([class_names.index(name) for name in record.class_names], dtype=np.int64)
        labels, predictions = place[images.labels], place[images.predictions]
        scores = None if images.scores is None else images.scores[:, np.argsort(place)]
        images = replace(images, labels=labels, predictions=predictions, scores=scores)
    return Side(record, rows, images)
