"""Which images show a finding: the most confident mistakes among some rows of evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from snellen.finding import FindingExample


def confident_mistakes(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], count: int
) -> tuple[FindingExample, ...]:
    """Examples of rows whose prediction is not the label, largest value first, ties by id.

    Args:
        rows: rows of evidence (``Table.to_pylist()``) with label and prediction.
        names: class names.
        count: how many at most.
    """
    wrong = [row for row in rows if row["label"] is not None and row["prediction"] not in (None, row["label"])]
    wrong.sort(key=lambda row: (-(row["value"] or 0.0), row["example_id"]))
    return tuple(
        FindingExample(example_id=row["example_id"], caption=f"{names[row['label']]} → {names[row['prediction']]}")
        for row in wrong[:count]
    )
