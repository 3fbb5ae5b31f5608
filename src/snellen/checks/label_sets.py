"""Several labels an image: what is known and decided of each, as columns of evidence, and one label of them alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.evidence import Evidence
from snellen.core.label_decisions import label_logits

#: Columns of evidence: int8 (n, k) with −1 where unknown, int8 (n, k), float32 (n, k).
LABELS, DECISIONS, LOGITS = "label_sets", "decision_sets", "logit_sets"

#: Column of the scores of one label: 0 and its logit, (n, 2).
SCORES = "scores"

#: Column of evidence that was measured of one label: its place.
OF_LABEL = "of_label"


@dataclass(frozen=True, eq=False)
class LabelSets:
    """What is known of n images and k labels.

    Attributes:
        labels: int8 (n, k), 1 where an image has the label, 0 where not, −1 where unknown.
        decisions: int8 (n, k), 1 where the model gives the label.
        logits: float64 (n, k), log p − log (1 − p) of each label; None for a model that gives decisions only.
    """

    labels: NDArray[np.int8]
    decisions: NDArray[np.int8]
    logits: NDArray[np.float64] | None

    @classmethod
    def of(cls, table: pa.Table) -> LabelSets | None:
        """From the columns of evidence; None where there are none."""
        if LABELS not in table.column_names or not len(table):
            return None
        labels, decisions = (_matrix(table, name).astype(np.int8) for name in (LABELS, DECISIONS))
        logits = _matrix(table, LOGITS).astype(np.float64) if LOGITS in table.column_names else None
        return cls(labels, decisions, logits)

    def select(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> LabelSets:
        """Some of the images, by position."""
        return LabelSets(self.labels[rows], self.decisions[rows], None if self.logits is None else self.logits[rows])

    def ordered(self, places: Sequence[int]) -> LabelSets:
        """Some of the labels, by position."""
        at = list(places)
        return LabelSets(self.labels[:, at], self.decisions[:, at], None if self.logits is None else self.logits[:, at])

    @property
    def judged(self) -> NDArray[np.bool_]:
        """Whether a label of an image is known, (n,)."""
        return np.asarray((self.labels >= 0).any(1))

    @property
    def probabilities(self) -> NDArray[np.float64] | None:
        """Probability of each label, (n, k)."""
        return None if self.logits is None else sigmoid(self.logits)


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / (1 + exp(−x)), without overflow."""
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small))


def set_columns(classifier: Classifier, scores: Tensor, labels: NDArray[np.int8]) -> dict[str, pa.Array]:
    """The columns of n images.

    Args:
        classifier: of several labels an image.
        scores: as it gave them, (n, k).
        labels: int8 (n, k), −1 where unknown.
    """
    columns = {
        LABELS: _lists(labels),
        DECISIONS: _lists(classifier.predict(scores).to(torch.int8).cpu().numpy()),
    }
    if classifier.output != "labels":
        columns[LOGITS] = _lists(label_logits(scores.detach().float(), classifier.output).cpu().numpy())
    return columns


def evidence_of_label(evidence: Evidence, place: int) -> Evidence:
    """Evidence of several labels as that of one: label, decision and confidence of two classes, without and with it."""
    table = evidence.table
    if OF_LABEL in table.column_names:
        table = table.filter(pc.equal(table[OF_LABEL], place)).drop_columns([OF_LABEL])
        return replace(evidence, table=table)
    sets = LabelSets.of(table)
    if sets is None:
        return evidence
    own, decided = sets.labels[:, place], sets.decisions[:, place]
    failed = np.array([status != "ok" for status in table["status"].to_pylist()])
    columns = {
        "label": pa.array(own.astype(np.int64), mask=own < 0),
        "prediction": pa.array(decided.astype(np.int64), mask=failed),
    }
    if sets.logits is not None:
        sure = sigmoid(np.where(decided == 1, 1, -1) * sets.logits[:, place])
        columns["value"] = pa.array(sure, mask=failed)
        table = table.append_column(SCORES, _lists(np.stack([np.zeros(len(own)), sets.logits[:, place]], 1)))
    for name, values in columns.items():
        at = table.column_names.index(name)
        table = table.set_column(at, table.schema.field(at), values.cast(table.schema.field(at).type))
    return replace(
        evidence, table=table.drop_columns([n for n in (LABELS, DECISIONS, LOGITS) if n in table.column_names])
    )


def combined(sets: Sequence[LabelSets], names: Sequence[str]) -> tuple[list[tuple[NDArray, NDArray]], tuple[str, ...]]:
    """Each combination of labels as a class of its own: labels (n,), −1 where some are unknown, and decisions (n,).

    Args:
        sets: of several sets of images.
        names: of the labels.

    Returns:
        For each set its labels and decisions; and the names of the classes, labels with "|" between them.
    """
    places: dict[bytes, int] = {}
    made: list[str] = []

    def place(row: NDArray[np.int8]) -> int:
        key = row.tobytes()
        if key not in places:
            places[key] = len(places)
            made.append("|".join(names[at] for at in np.flatnonzero(row).tolist()) or NONE)
        return places[key]

    found = []
    for one in sets:
        known = np.asarray((one.labels >= 0).all(1))
        labels = [place(row) if whole else -1 for row, whole in zip(one.labels, known, strict=True)]
        found.append(
            (np.array(labels, dtype=np.int64), np.array([place(row) for row in one.decisions], dtype=np.int64))
        )
    return found, tuple(made)


#: What stands for no label at all where labels are written with "|" between them.
NONE = "none"


def _lists(values: NDArray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).reshape(-1)), values.shape[1])


def _matrix(table: pa.Table, name: str) -> NDArray:
    column = table[name]
    width = column.type.list_size
    values = pc.list_flatten(column).to_numpy().reshape(-1, width)
    if not column.null_count:
        return values
    # Rows without a value, such as those that failed, count as unknown and undecided.
    found = np.full((len(table), width), -1 if name == LABELS else 0, dtype=values.dtype)
    found[column.is_valid().to_numpy()] = values
    return found
