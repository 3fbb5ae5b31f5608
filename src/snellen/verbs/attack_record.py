"""Evidence of the standard ensemble as what the ensemble returns for all images, for the record of a leaderboard."""

from __future__ import annotations

import torch

from snellen.core.evidence import Evidence
from snellen.core.outcomes import NOT_FINITE, Attacked
from snellen.verbs.attack_batches import NO_LABEL, OF_TARGET, WRONG


def as_attacked(evidence: Evidence) -> Attacked:
    """Rows of one setting, without images and scores: who found what, at what cost.

    Images that were wrong from the start were not attacked; they are those that the ensemble calls "clean".
    """
    table = evidence.table
    reasons = table["reason"].to_pylist()
    rows = [row for row, reason in enumerate(reasons) if reason not in (NO_LABEL, OF_TARGET)]
    finders = table["found_by"].to_pylist()
    wrong = [reasons[row] in (WRONG, "already") for row in rows]
    count = len(rows)

    def column(name: str) -> torch.Tensor:
        values = table[name].to_pylist()
        return torch.tensor([values[row] or 0 for row in rows])

    return Attacked(
        images=torch.empty(count, 0),
        success=column("success").bool() | torch.tensor(wrong, dtype=torch.bool),
        distance=column("value"),
        queries=column("queries").long(),
        gradients=column("gradients").long(),
        scores=torch.empty(count, 0),
        status=tuple(
            "already" if no else "not finite" if reasons[row] == NOT_FINITE else _plain(reasons[row])
            for row, no in zip(rows, wrong, strict=True)
        ),
        zero_gradient=column("zero_gradient").bool(),
        found_by=tuple("clean" if no else finders[row] or "" for row, no in zip(rows, wrong, strict=True)),
    )


def _plain(reason: str) -> str:
    return "found" if reason == "found" else "not found"
