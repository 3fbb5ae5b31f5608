"""What is known of an image and its estimate without the true clean image: lengths, and a classifier's decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.evidence import Evidence
from snellen.systems.perturbation_estimation.unbounded import in_batches, unbounded_scores


@dataclass(frozen=True)
class Decided:
    """One image x' and its estimate x_RED; what a classifier says is None where none was asked.

    Args:
        delta_l2: ‖x' − x_RED‖₂.
        delta_linf: the largest difference of any value.
        prediction: decision about x'.
        estimate_prediction: decision about x_RED.
        confidence: probability of the decision about x'; None where scores are labels alone.
        estimate_confidence: probability of the decision about x_RED.
        score_distance: ‖f(x') − f(x_RED)‖₂ of the scores.
        usable: whether the estimate and all scores are finite.
    """

    delta_l2: float
    delta_linf: float
    prediction: int | None = None
    estimate_prediction: int | None = None
    confidence: float | None = None
    estimate_confidence: float | None = None
    score_distance: float | None = None
    usable: bool = True

    @property
    def changed(self) -> bool | None:
        """Whether the estimate is decided otherwise."""
        return None if self.prediction is None else self.prediction != self.estimate_prediction


#: What evidence says of an estimate beside the columns that all evidence has.
COLUMNS = {
    "delta_linf": pa.float64(),
    "estimate_prediction": pa.int64(),
    "changed": pa.bool_(),
    "confidence": pa.float64(),
    "estimate_confidence": pa.float64(),
    "score_distance": pa.float64(),
}


def decided(seen: Tensor, estimate: Tensor, classifier: Classifier | None = None) -> list[Decided]:
    """Look at images and estimates, n of each.

    Args:
        seen: x', prepared, (n, 3, h, w) in [0, 1].
        estimate: x_RED, of the same shape, of any range.
        classifier: whose decisions are compared; None: lengths alone.
    """
    difference = (seen - estimate).flatten(1)
    finite = difference.isfinite().all(1)
    lengths = torch.linalg.vector_norm(difference, dim=1).tolist()
    largest = difference.abs().amax(1).tolist()
    if classifier is None:
        each = zip(lengths, largest, finite.tolist(), strict=True)
        return [Decided(length, most, usable=known) for length, most, known in each]
    scores = unbounded_scores(classifier)
    estimate = torch.where(finite[:, None, None, None], estimate, seen)  # no classifier need take NaN
    before, after = in_batches(scores, seen), in_batches(scores, estimate)
    usable = (finite & (before.isfinite() & after.isfinite()).all(1)).tolist()
    predictions = [classifier.predict(one).tolist() for one in (before, after)]
    sure: list[Sequence[float | None]] = [[None] * len(seen), [None] * len(seen)]
    if classifier.output != "labels":
        sure = [classifier.probabilities(one).amax(1).tolist() for one in (before, after)]
    apart = torch.linalg.vector_norm((after - before).double(), dim=1).tolist()
    rows = zip(lengths, largest, *predictions, *sure, apart, usable, strict=True)
    return [Decided(*row) for row in rows]


def evidence_of(
    rows: Sequence[Decided],
    example_ids: Sequence[str],
    *,
    setting: str,
    model: str,
    unit_ids: Sequence[str | None],
    labels: Sequence[int | None],
    assumptions: Sequence[str] = (),
) -> Evidence:
    """A row for each image: decision about it, ‖δ_RED‖₂ as value, and the columns of :data:`COLUMNS`."""
    return Evidence.of(
        example_ids,
        setting=setting,
        model=model,
        unit_ids=unit_ids,
        label=labels,
        prediction=[row.prediction for row in rows],
        value=[row.delta_l2 for row in rows],
        extra={name: pa.array([getattr(row, name) for row in rows], kind) for name, kind in COLUMNS.items()},
        assumptions=assumptions,
    )
