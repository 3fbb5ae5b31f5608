"""Rows of evidence for views: from where, what the classifier said, whether that was right."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import torch
from torch import Tensor

from snellen.core.budget import Spent
from snellen.core.classifier import Classifier
from snellen.core.evidence import Evidence
from snellen.core.outcomes import NOT_FINITE, NOT_SEEN
from snellen.data.worlds.viewpoints import COORDINATES
from snellen.systems.viewpoints.search import Judged


def judged_rows(
    judged: Judged, classifier: Classifier, *, object_id: str, label: int, viewpoints: Tensor, setting: str
) -> Evidence:
    """One row per view of an object; one that does not show it is rejected, one without finite scores failed.

    Args:
        judged: n views.
        classifier: that was asked.
        object_id: the unit.
        label: its class.
        viewpoints: (n, 6).
        setting: name in the evidence.
    """
    shown, count = (~judged.blank).tolist(), len(judged.blank)
    predictions: list[int | None] = [None] * count
    if judged.finite and any(shown):
        said = classifier.predict(judged.scores[~judged.blank]).tolist()
        for place in range(count):
            predictions[place] = said.pop(0) if shown[place] else None
    evidence = Evidence.of(
        [f"{object_id}/{number:04d}" for number in range(count)],
        setting=setting,
        model=classifier.name,
        unit_ids=[object_id] * count,
        label=[label] * count,
        prediction=predictions,
        status=["rejected" if not one else "ok" if judged.finite else "failed" for one in shown],
        reason=[NOT_SEEN if not one else None if judged.finite else NOT_FINITE for one in shown],
        spent=Spent(queries=sum(shown)),
    )
    return with_viewpoints(evidence, viewpoints, judged.success)


def with_viewpoints(evidence: Evidence, viewpoints: Tensor, success: Tensor) -> Evidence:
    """The same rows with the six numbers of each viewpoint, whether the decision is right, and the criterion met."""
    columns: Mapping[str, pa.Array] = {
        "right": pa.array(
            [
                None if predicted is None else label == predicted
                for label, predicted in zip(
                    evidence.table["label"].to_pylist(), evidence.table["prediction"].to_pylist(), strict=True
                )
            ],
            pa.bool_(),
        ),
        "success": pa.array(success.flatten().tolist(), pa.bool_()),
        **{
            name: pa.array(values.tolist(), pa.float64())
            for name, values in zip(COORDINATES, viewpoints.reshape(-1, len(COORDINATES)).double().T, strict=True)
        },
    }
    table = evidence.table
    for name, column in columns.items():
        table = table.append_column(name, column)
    return Evidence(table, evidence.spent, evidence.assumptions, evidence.control)


def viewpoints_in(evidence: Evidence) -> Tensor:
    """The viewpoints of rows, float64 (n, 6)."""
    return torch.tensor([evidence.table[name].to_pylist() for name in COORDINATES], dtype=torch.float64).T.contiguous()
