"""What is known about every usable image: the clean evidence as arrays in one order, and images that show a finding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from snellen.checks.label_sets import SCORES as SCORES
from snellen.checks.label_sets import LabelSets, sigmoid
from snellen.core.evidence import Evidence
from snellen.core.factors import FACTORS, decoded
from snellen.core.finding import FindingExample
from snellen.core.images import ImageSet
from snellen.metrics.inspection.fingerprints import Fingerprints
from snellen.metrics.inspection.properties import ImageProperties
from snellen.metrics.units import unit_codes

FEATURES, PIXEL_HASH = "features", "pixel_hash"
PROPERTY, FINGERPRINT = "property.", "fingerprint."


def array_column(values: NDArray) -> pa.Array:
    """An array (n, …) as a column: numbers for (n,), lists of equal length for more axes."""
    if values.ndim == 1:
        return pa.array(values)
    width = int(np.prod(values.shape[1:]))
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).reshape(-1)), width)


def read_array(table: pa.Table, name: str, shape: tuple[int, ...] = ()) -> NDArray | None:
    """The column as an array (n, *shape), (n, d) when no shape is given for lists; None without the column or rows."""
    if name not in table.column_names or not len(table):
        return None
    column = table[name]
    if not pa.types.is_fixed_size_list(column.type):
        return column.to_numpy()
    return pc.list_flatten(column).to_numpy().reshape(len(table), *(shape or (column.type.list_size,)))


def fingerprint_columns(found: Fingerprints) -> dict[str, pa.Array]:
    """One column for each part of the fingerprints."""
    return {FINGERPRINT + part.name: array_column(getattr(found, part.name)) for part in fields(Fingerprints)}


def read_fingerprints(table: pa.Table) -> Fingerprints | None:
    """Fingerprints from their columns; None where they were not kept."""
    shapes = {"thumbnails": (16, 16), "chroma": (2, 4, 4)}
    parts = {
        part.name: read_array(table, FINGERPRINT + part.name, shapes.get(part.name, ()))
        for part in fields(Fingerprints)
    }
    known = {name: values for name, values in parts.items() if values is not None}
    return Fingerprints(**known) if len(known) == len(parts) else None


def property_columns(found: ImageProperties) -> dict[str, pa.Array]:
    """One column for each property."""
    return {PROPERTY + name: array_column(values) for name, values in found.by_name().items()}


def read_properties(table: pa.Table) -> ImageProperties | None:
    """Properties from their columns; None where they were not kept."""
    parts = {part.name: read_array(table, PROPERTY + part.name) for part in fields(ImageProperties)}
    known = {name: values for name, values in parts.items() if values is not None}
    return ImageProperties(**known) if len(known) == len(parts) else None


#: Columns of the clean evidence, and of image sets: each image's group, its bag, and the label of its bag.
GROUP, BAG, BAG_LABEL = "group", "bag_id", "bag_label"

#: Columns of an image set that the clean evidence carries along, and what makes their values.
CARRIED: dict[str, Callable[[Any], object]] = {GROUP: str, FACTORS: str, BAG: str, BAG_LABEL: int}

#: The outcome of an image in a setting, from :meth:`PerImage.outcomes`.
RIGHT, WRONG, ABSENT = 1, 0, -1


@dataclass(frozen=True, eq=False)
class PerImage:
    """Arrays over the usable images, in the order of the image set.

    Attributes:
        ids: their ids.
        labels: (n,), −1 where unknown.
        predictions: (n,).
        confidence: largest probability (n,); None for a classifier that gives labels only.
        unit_ids: name of each image's independent unit, its own id where none is known.
        unit_names: the same, None where none is known.
        units: code of that unit (n,); None when every image is a unit of its own.
        groups: name of each image's group, None where unknown.
        factors: values of several groups by their names, each (n,), None where unknown; none where there is one group.
        bags: id of each image's bag, None where unknown.
        bag_labels: label of each image's bag (n,), −1 where unknown; None when no image is in a bag.
        splits: split of each image, None where unknown.
        scores: (n, k) as the classifier gave them; None when they were not kept.
        features: (n, d); None when they were not kept.
        pixel_hashes: hash of the prepared pixels of each image; None when they were not kept.
        fingerprints: of each image; None when they were not kept.
        properties: brightness, sharpness, …; None when they were not kept.
        costs: what a decision loses beside the right one, (true class, decision), in [0, 1] with 1 for the costliest
            error; None: all errors lose 1.
        sets: labels and decisions where an image has several; labels and predictions are then −1.
    """

    ids: tuple[str, ...]
    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]
    confidence: NDArray[np.float64] | None = None
    unit_ids: tuple[str, ...] = ()
    unit_names: tuple[str | None, ...] = ()
    units: NDArray[np.int64] | None = None
    groups: tuple[str | None, ...] = ()
    factors: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)
    bags: tuple[str | None, ...] = ()
    bag_labels: NDArray[np.int64] | None = None
    splits: tuple[str | None, ...] = ()
    scores: NDArray[np.float64] | None = None
    features: NDArray[np.float32] | None = None
    pixel_hashes: tuple[str, ...] | None = None
    fingerprints: Fingerprints | None = None
    properties: ImageProperties | None = None
    costs: NDArray[np.float64] | None = None
    sets: LabelSets | None = None

    @classmethod
    def of(cls, clean: Evidence, images: ImageSet | None = None) -> PerImage:
        """Read the clean evidence.

        Args:
            clean: rows of the setting "clean", one for each usable image.
            images: where splits are known, groups and bags; without it groups and bags are those of the evidence.
        """
        table = clean.table
        ids, units = tuple(table["example_id"].to_pylist()), tuple(table["unit_id"].to_pylist())
        features, known = read_array(table, FEATURES), table["value"].null_count < len(table)
        scores = read_array(table, SCORES)
        bags = _names(table, BAG) if images is None else _of_ids(images, BAG, ids)
        return cls(
            ids=ids,
            labels=_integers(table["label"]),
            predictions=_integers(table["prediction"]),
            confidence=table["value"].to_numpy().astype(np.float64) if known else None,
            unit_ids=units,
            unit_names=_of_ids(images, "unit_id", ids),
            units=None if len(set(units)) == len(ids) else unit_codes(units),
            groups=_names(table, GROUP) if images is None else _of_ids(images, GROUP, ids),
            factors=decoded(_names(table, FACTORS) if images is None else _of_ids(images, FACTORS, ids)),
            bags=bags,
            bag_labels=None if all(bag is None for bag in bags) else _bag_labels(table, images, ids),
            splits=_of_ids(images, "split", ids),
            scores=None if scores is None else scores.astype(np.float64),
            features=features,
            pixel_hashes=tuple(table[PIXEL_HASH].to_pylist()) if PIXEL_HASH in table.column_names else None,
            fingerprints=read_fingerprints(table),
            properties=read_properties(table),
            sets=LabelSets.of(table),
        )

    def of_label(self, place: int) -> PerImage:
        """The same images with one of their labels as classes: 0 without it, 1 with it; scores are 0 and its logit."""
        assert self.sets is not None
        decided, logits, scores, sure = self.sets.decisions[:, place].astype(np.int64), self.sets.logits, None, None
        if logits is not None:
            scores = np.stack([np.zeros(len(self)), logits[:, place]], 1)
            sure = sigmoid(np.where(decided == 1, 1, -1) * logits[:, place])
        labels = self.sets.labels[:, place].astype(np.int64)
        return replace(self, labels=labels, predictions=decided, confidence=sure, scores=scores, sets=None, costs=None)

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def labelled(self) -> NDArray[np.bool_]:
        """Whether each image has a label, (n,)."""
        return self.labels >= 0

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each prediction is the label, (n,); False without a label."""
        return self.labelled & (self.predictions == self.labels)

    @cached_property
    def lost(self) -> NDArray[np.float64]:
        """What each decision loses beside the right one, (n,), in [0, 1]; 0 without a label."""
        return self.loss_of(self.predictions)

    @property
    def weighed(self) -> NDArray[np.float64] | None:
        """The same where errors do not cost alike; None where they do, and counting them is enough."""
        return None if self.costs is None else self.lost

    def loss_of(self, predictions: NDArray[np.int64]) -> NDArray[np.float64]:
        """What other decisions on the same images lose, (n,) → (n,); no decision (negative) loses all, no label 0."""
        if self.costs is None:
            wrong: NDArray[np.float64] = (self.labelled & (predictions != self.labels)).astype(np.float64)
            return wrong
        found = np.zeros(len(self))
        known = self.labelled & (predictions >= 0)
        found[known] = self.costs[self.labels[known], predictions[known]]
        none = self.labelled & (predictions < 0)
        found[none] = self.costs.max(1)[self.labels[none]]
        return found

    def confidence_by(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probability of each decision, (n, k) → (n,): the largest, but where a threshold decides another class."""
        decided = np.where(self.predictions < 0, probabilities.argmax(1), self.predictions)
        return probabilities[np.arange(len(self)), decided]

    def units_of(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Unit codes of some images, or None when every image is a unit of its own."""
        return None if self.units is None else self.units[chosen]

    def select(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> PerImage:
        """Some of the images: by mask (n,) or by positions. A mask that keeps all gives this very object."""
        if chosen.dtype == bool and chosen.all():
            return self  # most sets have a label for each image, and each check would keep copies of all arrays
        rows = np.flatnonzero(chosen) if chosen.dtype == bool else chosen

        def part(values: NDArray | None) -> NDArray | None:
            return None if values is None else values[rows]

        hashes = self.pixel_hashes
        return replace(
            self,
            ids=tuple(self.ids[row] for row in rows),
            labels=self.labels[rows],
            predictions=self.predictions[rows],
            confidence=part(self.confidence),
            unit_ids=tuple(self.unit_ids[row] for row in rows) if self.unit_ids else (),
            unit_names=tuple(self.unit_names[row] for row in rows) if self.unit_names else (),
            units=part(self.units),
            groups=tuple(self.groups[row] for row in rows) if self.groups else (),
            factors={name: tuple(values[row] for row in rows) for name, values in self.factors.items()},
            bags=tuple(self.bags[row] for row in rows) if self.bags else (),
            bag_labels=part(self.bag_labels),
            splits=tuple(self.splits[row] for row in rows) if self.splits else (),
            scores=part(self.scores),
            features=part(self.features),
            pixel_hashes=None if hashes is None else tuple(hashes[row] for row in rows),
            fingerprints=None if self.fingerprints is None else self.fingerprints.select(rows),
            properties=None if self.properties is None else self.properties.select(rows),
            sets=None if self.sets is None else self.sets.select(rows),
        )

    def outcomes(self, evidence: Evidence, setting: str, *, undecided: int = WRONG) -> NDArray[np.int8]:
        """What became of each image in a setting: :data:`RIGHT`, :data:`WRONG` or :data:`ABSENT`, int8 (n,).

        A decision that was prevented (scores not finite) is a wrong one, or what ``undecided`` says; images without a
        label, and images that the method skipped or found invalid there, are absent.
        """
        table = evidence.where(setting=setting).table
        table = table.filter(
            pc.and_(pc.is_valid(table["label"]), pc.is_in(table["status"], pa.array(["ok", "failed"])))
        )
        right = pc.fill_null(pc.equal(table["label"], table["prediction"]), False).to_numpy()
        decided = pc.equal(table["status"], "ok").to_numpy()
        found = np.full(len(self), ABSENT, dtype=np.int8)
        places = pc.index_in(table["example_id"], pa.array(self.ids)).to_numpy()
        found[places.astype(np.int64)] = np.where(decided, right, undecided)
        return found

    def decisions(self, evidence: Evidence, setting: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Prediction of each image in a setting, −1 where there is none, and its value, NaN where there is none."""
        table = evidence.where(setting=setting, status="ok").table
        places = pc.index_in(table["example_id"], pa.array(self.ids)).to_numpy().astype(np.int64)
        decided, values = np.full(len(self), ABSENT, dtype=np.int64), np.full(len(self), np.nan)
        decided[places] = _integers(table["prediction"])
        values[places] = table["value"].cast(pa.float64()).to_numpy()
        return decided, values

    def classes_present(self) -> list[int]:
        """Classes that have labelled images, ascending."""
        return np.unique(self.labels[self.labelled]).tolist()


def rows_of(names: Sequence[str | None]) -> dict[str, NDArray[np.int64]]:
    """Positions by name, in order of first appearance; those without a name are left out."""
    found: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        if name is not None:
            found.setdefault(name, []).append(row)
    return {name: np.array(rows, dtype=np.int64) for name, rows in found.items()}


def _integers(column: pa.ChunkedArray) -> NDArray[np.int64]:
    return column.fill_null(-1).to_numpy().astype(np.int64)


def _names(table: pa.Table, column: str) -> tuple[str | None, ...]:
    return tuple(table[column].to_pylist()) if column in table.column_names else (None,) * len(table)


def _bag_labels(table: pa.Table, images: ImageSet | None, ids: Sequence[str]) -> NDArray[np.int64]:
    if images is not None:
        found = _of_ids(images, BAG_LABEL, ids)
        return np.array([-1 if label is None else int(label) for label in found], dtype=np.int64)
    if BAG_LABEL not in table.column_names:
        return np.full(len(table), -1, dtype=np.int64)
    return _integers(table[BAG_LABEL])


def _of_ids(images: ImageSet | None, column: str, ids: Sequence[str]) -> tuple[str | None, ...]:
    if images is None:
        return (None,) * len(ids)
    values = dict(zip(images.ids, images.column(column), strict=True))
    return tuple(None if values[key] is None else str(values[key]) for key in ids)


def confident_mistakes(
    images: PerImage,
    names: tuple[str, ...],
    count: int,
    *,
    predictions: NDArray[np.int64] | None = None,
    confidence: NDArray[np.float64] | None = None,
) -> tuple[FindingExample, ...]:
    """Images whose prediction is not the label, most confident first, ties by id.

    Args:
        images: those to choose from.
        names: class names.
        count: how many at most.
        predictions: (n,) decisions to judge, −1 where there is none; by default those on the clean images.
        confidence: (n,) of those decisions, NaN where there is none.
    """
    decided = images.predictions if predictions is None else predictions
    sure = images.confidence if predictions is None else confidence
    wrong = np.flatnonzero(images.labelled & (decided >= 0) & (decided != images.labels))
    weight = np.zeros(len(images)) if sure is None else np.nan_to_num(sure)
    ranked = sorted(wrong.tolist(), key=lambda row: (-weight[row], images.ids[row]))
    return tuple(
        FindingExample(example_id=images.ids[row], caption=f"{names[images.labels[row]]} → {names[decided[row]]}")
        for row in ranked[:count]
    )
