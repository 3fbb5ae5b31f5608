"""The course of the learning rate, as pure functions of the step: factors in [0, 1] of the peak learning rate.

A schedule holds no state, so a resumed training needs nothing but the number of the step.
"""

from __future__ import annotations

import math
from typing import Literal

from snellen.core.errors import InputError

Schedule = Literal["constant", "cosine", "linear", "one-cycle"]

#: One-cycle starts at 1/25 of the peak and ends at 1/250,000 of it (the defaults of ``OneCycleLR``).
ONE_CYCLE_START = 1 / 25
ONE_CYCLE_END = ONE_CYCLE_START / 1e4


def learning_rate_factor(schedule: Schedule, step: int, *, total_steps: int, warmup_steps: int = 0) -> float:
    """Factor of the peak learning rate for one step.

    Args:
        schedule: name of the course.
        step: number of the step, from 0 to ``total_steps`` − 1.
        total_steps: steps of the whole training, warm-up included.
        warmup_steps: steps until the peak.

    Raises:
        InputError: the warm-up is longer than the training.

    >>> [round(learning_rate_factor("cosine", step, total_steps=6, warmup_steps=2), 3) for step in range(6)]
    [0.5, 1.0, 1.0, 0.854, 0.5, 0.146]
    """
    if warmup_steps > total_steps:
        raise InputError(
            f"the warm-up of {warmup_steps} steps is longer than the training of {total_steps} steps; "
            f"lower warmup_steps or train for more epochs"
        )
    courses = {"constant": constant, "cosine": cosine, "linear": linear, "one-cycle": one_cycle}
    return courses[schedule](step, total_steps, warmup_steps)


def constant(step: int, total_steps: int, warmup_steps: int) -> float:
    """1 after a linear warm-up: 1/w, 2/w, … 1."""
    return (step + 1) / warmup_steps if step < warmup_steps else 1.0


def cosine(step: int, total_steps: int, warmup_steps: int) -> float:
    """Linear warm-up, then ½(1 + cos πt), t running from 0 towards 1 (Loshchilov and Hutter 2017, eq. 5, one cycle)."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / (total_steps - warmup_steps)))


def linear(step: int, total_steps: int, warmup_steps: int) -> float:
    """Linear warm-up, then in a straight line towards 0, which the step behind the last one would have.

    >>> [linear(step, 6, 2) for step in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return (total_steps - step) / (total_steps - warmup_steps)


def one_cycle(step: int, total_steps: int, warmup_steps: int) -> float:
    """Up along half a cosine from 1/25, down along half a cosine to 1/250,000 (Smith and Topin 2018).

    Equal to ``torch.optim.lr_scheduler.OneCycleLR`` with ``pct_start = warmup_steps / total_steps``; without a warm-up
    it starts at the peak.
    """
    peak = max(warmup_steps - 1, 0)
    if step < peak:
        return _half_cosine(ONE_CYCLE_START, 1.0, step / peak)
    return _half_cosine(1.0, ONE_CYCLE_END, (step - peak) / max(total_steps - 1 - peak, 1))


def _half_cosine(start: float, end: float, fraction: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * fraction))
