"""Which images of two runs are the same, and whether the runs can be compared at all."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from snellen.auditing.compare.difference import Difference, Mean, Units, difference_of
from snellen.auditing.compare.run_record import RunRecord
from snellen.auditing.shard_work import AUDITED
from snellen.checks.per_image import ABSENT, PerImage
from snellen.core.errors import InputError
from snellen.core.evidence import Evidence
from snellen.core.listed_names import listed_names

#: How a bag is decided from its images: it belongs to the model, as its weights do.
BAG_DECISION = frozenset({"pooling", "threshold"})

#: Parameters of a check that change no figure, or that are compared only where both runs have them.
HARMLESS = BAG_DECISION | {
    "costs",
    "examples",
    "resamples",
    "kinds",
    "domain",
    "guessed",
    "also",
    "families",
    "severities",
    "threats",
    "declared",
    "reference",
    "shown",
    "earlier",
    "search",
    "thresholds",
}

#: Of these, those that change the figures of a check all the same: an edited image is one from the threshold on.
HARMFUL: Mapping[str, frozenset[str]] = {"edits": frozenset({"threshold"})}


@dataclass(frozen=True, eq=False)
class Side:
    """One run, on the images that are compared.

    Attributes:
        record: the run.
        rows: positions of these images among all of the run, by ascending id, (n,).
        images: what is known of them; labels and decisions in the classes of the earlier run.
        class_names: of the earlier run.
    """

    record: RunRecord
    rows: NDArray[np.int64]
    images: PerImage
    class_names: tuple[str, ...]
    seen: dict[tuple[str, str], NDArray[np.int8]] = field(default_factory=dict, repr=False)

    def outcomes(self, check: str, setting: str) -> NDArray[np.int8]:
        """What became of each of these images in a setting, int8 (n,); absent where nothing was measured."""
        # Several figures rest on each setting, and finding its rows among all of them is slow.
        if (check, setting) not in self.seen:
            self.seen[check, setting] = self._read(check, setting)
        return self.seen[check, setting]

    @property
    def costs(self) -> NDArray[np.float64] | None:
        """Cost of each decision on each true class (k, k), in the order of labels and decisions; None without any."""
        given = self.record.parameters.get("clean", {}).get("costs")
        if given is None:
            return None
        places = [self.record.class_names.index(name) for name in self.class_names]
        table: NDArray[np.float64] = np.asarray(given, dtype=np.float64)[np.ix_(places, places)]
        return table

    def marked(self, check: str, setting: str, reasons: Collection[str]) -> NDArray[np.float64]:
        """1 where a row that is ok has one of these reasons, 0 where another or none, (n,); NaN where there is none."""
        table = self.record.evidence.get(check, Evidence.merge([])).where(setting=setting, status="ok").table
        found, known = np.full(len(self.record.images), np.nan), self.record.images.ids
        places = pc.index_in(table["example_id"], pa.array(known, pa.string())).to_numpy().astype(np.int64)
        found[places] = pc.is_in(table["reason"], pa.array(sorted(reasons), pa.string())).to_numpy()
        return found[self.rows]

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
        relabelled: images that have another label in the second run, and are compared nowhere.
    """

    first: Side
    second: Side
    paired: bool
    notes: tuple[str, ...]
    relabelled: int = 0

    @property
    def same_costs(self) -> bool:
        """Whether errors cost the same in both runs, or in neither anything that was stated."""
        ours, theirs = self.first.costs, self.second.costs
        if ours is None or theirs is None:
            return ours is theirs
        return np.array_equal(ours, theirs)

    @property
    def units(self) -> Units:
        """Units of the shared images."""
        return self.first.images.units


def pair_runs(first: RunRecord, second: RunRecord) -> Pair:
    """Match the images of two runs by id when they are the same to the byte; else compare unpaired.

    Labels and decisions are compared by the names of the classes, in any order in each model. An image whose label
    differs is left out, so that a difference is one of the models.

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
        differing = [f"{one.get('pooling')}, positive from {one.get('threshold')} on" for one in decisions]
        notes.append(f"Bags are decided by {differing[0]} in the first run, and by {differing[1]} in the second.")
    if not same_set(first, second):
        notes.append(
            f"The runs used other data ({len(sides[0].rows)} and {len(sides[1].rows)} labelled images), so that "
            f"nothing is paired. Intervals are wide, and a difference may come from the images as well as from the "
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
    relabelled = _relabelled(sides)
    ids = [key for key in ids if key not in relabelled]
    if relabelled:
        notes.append(
            f"{len(relabelled)} of these images have another label in the second run. They are left out of what is "
            f"compared image by image, so that a difference there is one of the models."
        )
        if not ids:
            raise InputError("every image has another label in the second run: no figure of one means the same in it")
    if first.plan.get("seed") != second.plan.get("seed"):
        notes.append("The runs have other seeds: random corruptions and attacks differ between them.")
    shared = [_on(side, ids) for side in sides]
    return Pair(shared[0], shared[1], True, tuple(notes), len(relabelled))


def same_set(first: RunRecord, second: RunRecord, name: str = AUDITED) -> bool:
    """Whether a set of both runs holds the same images by id and content, with any labels; also if none has it.

    Args:
        first: the earlier run.
        second: the later one.
        name: ``audit``, ``train`` or ``val``.
    """
    if first.set_fingerprint(name) == second.set_fingerprint(name):
        return True
    contents = first.contents(name)
    return contents is not None and contents == second.contents(name)


def same_labels(first: RunRecord, second: RunRecord, images: Sequence[PerImage | None]) -> bool:
    """Whether images of both runs have the same labels by the names of the classes."""
    if images[0] is None or images[1] is None:
        return images[0] is images[1]
    ours, theirs = (
        {
            key: record.class_names[label] if label >= 0 else None
            for key, label in zip(known.ids, known.labels.tolist(), strict=True)
        }
        for record, known in ((first, images[0]), (second, images[1]))
    )
    return ours == theirs


def _relabelled(sides: Sequence[Side]) -> set[str]:
    """Images of both sides that have another label in each."""
    ours, theirs = (dict(zip(side.images.ids, _known(side.images), strict=True)) for side in sides)
    return {key for key in ours.keys() & theirs.keys() if ours[key] != theirs[key]}


def _known(images: PerImage) -> list[object]:
    """The label of each image, or its labels."""
    return images.labels.tolist() if images.sets is None else images.sets.labels.tolist()


def mean_difference(pair: Pair, values: Sequence[NDArray[np.float64]]) -> Difference | None:
    """Difference of a mean over images, on those that have a value, in both runs where they are paired.

    Args:
        pair: the two runs.
        values: of the images of each side, (n,) and (m,), in [−1, 1]; NaN where there is none.

    Returns:
        None where no image is left.
    """
    sides, known = (pair.first, pair.second), [~np.isnan(one) for one in values]
    if pair.paired:
        known = [known[0] & known[1]] * 2
    if not all(one.any() for one in known):
        return None
    means = [Mean(one[mask]) for one, mask in zip(values, known, strict=True)]
    units = [side.images.units_of(mask) for side, mask in zip(sides, known, strict=True)]
    return difference_of(means[0], means[1], units, paired=pair.paired)


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
        differing = [
            f"{listed_names(sorted(only), 3)} only in the {name}"
            for only, name in zip((missing, added), names, strict=True)
            if only
        ]
        raise InputError(
            f"the {names[0]} and the {names[1]} have other classes: {'; '.join(differing)}. No figure of one means the "
            f"same in the other; compare runs of the same classes"
        )
    earlier = first.report.model["task"]
    if earlier != task:
        raise InputError(
            f"the {names[0]} and the {names[1]} have other tasks ({earlier} and {task}): their figures cannot be "
            f"compared"
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


def differing_parameters(first: RunRecord, second: RunRecord) -> dict[str, str]:
    """By check that both ran: why figures of it cannot be compared."""
    found = {}
    for check in first.parameters.keys() & second.parameters.keys():
        ours, theirs = first.parameters[check], second.parameters[check]
        harmless = HARMLESS - HARMFUL.get(check, frozenset())
        names = sorted(name for name in {*ours, *theirs} - harmless if ours.get(name) != theirs.get(name))
        if names:
            differing = ", ".join(f"{name} {ours.get(name)} and {theirs.get(name)}" for name in names)
            found[check] = f"the check {check} had other parameters in the two runs ({differing})"
    return found


def _labelled(record: RunRecord, class_names: tuple[str, ...]) -> Side:
    """The labelled images of a run by ascending id, in the given order of classes; of a segmenter's, all images."""
    images = record.images
    if record.report.model["task"] == "segment":
        rows = np.array(sorted(range(len(images)), key=lambda row: images.ids[row]), dtype=np.int64)
        return Side(record, rows, images.select(rows), class_names)
    if record.report.model["task"] == "multilabel":
        return _of_several_labels(record, class_names)
    order = sorted(np.flatnonzero(images.labelled).tolist(), key=lambda row: images.ids[row])
    return _side(record, np.array(order, dtype=np.int64), class_names)


def _of_several_labels(record: RunRecord, class_names: tuple[str, ...]) -> Side:
    """The images with a known label, by ascending id; labels and decisions in the given order of labels."""
    images = record.images
    judged = np.zeros(len(images), dtype=np.bool_) if images.sets is None else images.sets.judged
    rows = np.array(sorted(np.flatnonzero(judged).tolist(), key=lambda row: images.ids[row]), dtype=np.int64)
    chosen = images.select(rows)
    places = [record.class_names.index(name) for name in class_names]
    sets = None if chosen.sets is None else chosen.sets.ordered(places)
    return Side(record, rows, replace(chosen, sets=sets), class_names)


def _knows_bags(record: RunRecord) -> bool:
    labels = record.images.bag_labels
    return labels is not None and bool((labels >= 0).any())


def _on(side: Side, ids: list[str]) -> Side:
    wanted = set(ids)
    kept = np.array([key in wanted for key in side.images.ids], dtype=bool)
    return Side(side.record, side.rows[kept], side.images.select(kept), side.class_names)


def _side(record: RunRecord, rows: NDArray[np.int64], class_names: tuple[str, ...]) -> Side:
    images = record.images.select(rows)
    if record.class_names != class_names:
        place = np.array([class_names.index(name) for name in record.class_names], dtype=np.int64)
        labels, predictions = place[images.labels], place[images.predictions]
        scores = None if images.scores is None else images.scores[:, np.argsort(place)]
        images = replace(images, labels=labels, predictions=predictions, scores=scores)
    return Side(record, rows, images, class_names)
