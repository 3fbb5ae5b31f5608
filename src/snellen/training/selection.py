"""Which epoch is the best so far, judged on the tune split alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from snellen.core.errors import ModelError, unknown_name
from snellen.training.plan import TrainingPlan


def beats_best(
    row: Mapping[str, float], history: Sequence[Mapping[str, float]], best_epoch: int, plan: TrainingPlan
) -> bool:
    """Whether the figures of a new epoch beat those of the best one; the earlier epoch wins a tie.

    Args:
        row: figures of the new epoch, those of the tune split as ``tune.NAME``.
        history: rows of the epochs before it.
        best_epoch: number of the best among them, from 1; 0 if there is none.
        plan: names the figure and its direction.

    Raises:
        UnknownNameError: there is no such figure.
        ModelError: a figure is not finite.

    >>> beats_best({"epoch": 2, "tune.accuracy": 0.9}, [{"epoch": 1, "tune.accuracy": 0.8}], 1, TrainingPlan())
    True
    """
    name = f"tune.{plan.select}"
    if name not in row:
        raise unknown_name(
            "figure to select by", plan.select, [key.removeprefix("tune.") for key in row if key.startswith("tune.")]
        )
    for key, value in row.items():
        if not math.isfinite(value):
            raise ModelError(f"epoch {row['epoch']:.0f}: the figure {key} is not finite ({value})")
    if not best_epoch:
        return True
    new, best = row[name], history[best_epoch - 1][name]
    return new > best if plan.select_highest else new < best
