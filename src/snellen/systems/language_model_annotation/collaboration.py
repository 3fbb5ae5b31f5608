"""The loop: mine, annotate, train the student, let its uncertainty choose what the annotator labels next.

Teacher and pool come in, labels and a student come out. A person takes part in the definition and in labels that
validate; none of the images with these labels is mined, chosen or trained on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from snellen.core.errors import InputError
from snellen.models.encoders.head_on_encoder import InstanceHead
from snellen.systems.language_model_annotation.annotation import Annotation
from snellen.systems.language_model_annotation.mining import Hit, Mined, initial_batch
from snellen.systems.language_model_annotation.student import (
    StudentFit,
    fit_student,
    probabilities,
    smallest_margins,
)


class Schedule(BaseModel):
    """How many images are mined and labelled; ours, because the paper's numbers are not known.

    >>> Schedule().most_labels
    600
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    queries: int = Field(10, ge=1, description="positive queries, and as many near misses")
    per_query: int = Field(20, ge=1, description="images that each query brings")
    initial: int = Field(100, ge=2, description="images of the first batch, positives and near misses in turn")
    rounds: int = Field(5, ge=0, description="rounds of active learning")
    batch: int = Field(100, ge=1, description="images of each round")

    @property
    def most_labels(self) -> int:
        """Images that the machine labels at most, those of the owner aside."""
        return self.initial + self.rounds * self.batch


class Labelled(BaseModel):
    """A machine label with where its image came from.

    Attributes:
        row: of the image among the usable ones of the pool.
        round: 0 for the first batch, then that of active learning.
        hits: queries that brought it; none for an image that the student chose.
        margin: |g − ½| of the student when it chose the image.
        annotation: what the annotator found.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    row: int
    round: int
    hits: tuple[Hit, ...] = ()
    margin: float | None = None
    annotation: Annotation

    @property
    def provenance(self) -> str:
        """In words: the best query, or the round."""
        if not self.hits:
            return f"round {self.round}, margin {self.margin:.4f}"
        best = self.hits[0]
        return f"{best.side}: {best.query}"


def decided(labels: Sequence[Labelled]) -> dict[int, int]:
    """Labels to train on, by row: undecided images are none."""
    return {one.row: one.annotation.label for one in labels if one.annotation.label is not None}


@dataclass(frozen=True, eq=False)
class Chosen:
    """Images of the next batch.

    Attributes:
        rows: to annotate.
        margins: of the student, by row; empty in round 0.
    """

    rows: list[int]
    margins: dict[int, float]


@dataclass(frozen=True, eq=False)
class Collaboration:
    """Everything that decides which images are labelled next.

    Args:
        embeddings: of the usable images of the pool, (n, d).
        mined: what queries brought; no image of the owner.
        owner: rows that the owner labelled.
        schedule: numbers.
        fit: numbers of the student.
        seed: of students.
    """

    embeddings: Tensor
    mined: Mined
    owner: frozenset[int]
    schedule: Schedule
    fit: StudentFit
    seed: int

    def student(self, labels: Sequence[Labelled]) -> InstanceHead:
        """Train from scratch on all decided labels.

        Raises:
            InputError: labels of one class, in words about what to change.
        """
        known = decided(labels)
        if labels and not any(known.values()):
            left = len(labels) - len(known)
            raise InputError(
                f"none of {len(labels)} mined images belongs to the concept by the annotator ({left} undecided), so "
                f"there is nothing to learn; give other queries or captions that fit your images, or correct the "
                f"definition"
            )
        return fit_student(self.embeddings, known, owner=self.owner, fit=self.fit, seed=self.seed)

    def batch(self, number: int, labels: Sequence[Labelled]) -> Chosen:
        """What to annotate in a round: 0 is the first batch; later ones hold no image that has a label already."""
        if number == 0:
            return Chosen(initial_batch(self.mined, self.schedule.initial), {})
        scores = probabilities(self.student(labels), self.embeddings)
        seen = {*(one.row for one in labels), *self.owner}
        rows = smallest_margins(scores, self.schedule.batch, without=seen)
        return Chosen(rows, {row: round(abs(float(scores[row]) - 0.5), 6) for row in rows})

    def labelled(self, number: int, chosen: Chosen, annotations: Sequence[Annotation]) -> list[Labelled]:
        """Annotations of the first of the chosen images, with their provenance."""
        return [
            Labelled(
                row=row,
                round=number,
                hits=self.mined.hits.get(row, ()) if number == 0 else (),
                margin=chosen.margins.get(row),
                annotation=one,
            )
            for row, one in zip(chosen.rows, annotations, strict=False)
        ]


def label_counts(labels: Sequence[Labelled]) -> Mapping[str, int]:
    """How many machine labels are positive, negative and undecided."""
    values = [one.annotation.label for one in labels]
    return {"positive": values.count(1), "negative": values.count(0), "undecided": values.count(None)}
