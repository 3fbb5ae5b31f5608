"""The parameters of a training, in one frozen model, and the course of its learning rate.

A schedule holds no state, so a resumed training needs nothing but the number of the step.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from snellen.core.errors import InputError

Schedule = Literal["constant", "cosine", "cosine-to-half", "linear", "one-cycle"]

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
    courses = {
        "constant": constant,
        "cosine": cosine,
        "cosine-to-half": cosine_to_half,
        "linear": linear,
        "one-cycle": one_cycle,
    }
    return courses[schedule](step, total_steps, warmup_steps)


def constant(step: int, total_steps: int, warmup_steps: int) -> float:
    """1 after a linear warm-up: 1/w, 2/w, … 1."""
    return (step + 1) / warmup_steps if step < warmup_steps else 1.0


def cosine(step: int, total_steps: int, warmup_steps: int) -> float:
    """Linear warm-up, then ½(1 + cos πt), t running from 0 towards 1 (Loshchilov and Hutter 2017, eq. 5, one cycle)."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / (total_steps - warmup_steps)))


def cosine_to_half(step: int, total_steps: int, warmup_steps: int) -> float:
    """The same, but from 1 towards ½, as ``CosineAnnealingLR`` with an ``eta_min`` of half the peak."""
    factor = cosine(step, total_steps, warmup_steps)
    return factor if step < warmup_steps else 0.5 + 0.5 * factor


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


Optimizer = Literal["adamw", "sgd", "sign"]
MixedPrecision = Literal["no", "fp16", "bf16"]


class TrainingPlan(BaseModel):
    """How long, how fast, and how to choose.

    >>> TrainingPlan(epochs=2, batch_size=64, optimizer="sgd", learning_rate=0.1).schedule
    'cosine'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(10, ge=1, description="passes over the training examples")
    batch_size: int = Field(128, ge=1, description="examples of one forward pass, over all processes together")
    accumulate: int = Field(1, ge=1, description="batches whose gradients make one optimizer step")
    drop_last: bool = Field(
        False, description="leave out an epoch's last, smaller batch (BatchNorm cannot train on a single example)"
    )
    optimizer: Optimizer = Field(
        "adamw", description="adamw, sgd with Nesterov momentum, or sign: steps of the gradient's sign"
    )
    learning_rate: float = Field(1e-3, gt=0, description="peak learning rate, per optimizer step")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of sgd, first beta of adamw")
    second_momentum: float = Field(0.999, ge=0, lt=1, description="second beta of adamw")
    weight_decay: float = Field(
        0.01, ge=0, description="decay of weights, not of biases and normalisation parameters; adamw: decoupled"
    )
    schedule: Schedule = Field("cosine", description="course of the learning rate after the warm-up")
    warmup_steps: int = Field(0, ge=0, description="optimizer steps until the peak learning rate is reached")
    ema_decay: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="decay per step of the averaged weights, which then are the result; None: no average",
    )
    clip_norm: float | None = Field(None, gt=0, description="largest L2 norm of the whole gradient; None: not clipped")
    mixed_precision: MixedPrecision = Field("no", description="autocast type of the forward pass; fp16 needs a GPU")
    channels_last: bool = Field(False, description="keep images and convolutions in channels-last memory layout")
    select: str = Field("accuracy", description="figure on the validation split by which the best epoch is chosen")
    select_highest: bool = Field(True, description="whether a higher value of that figure is better")
    checkpoint_every: int | None = Field(
        None,
        ge=1,
        description="optimizer steps between checkpoints, besides one after each epoch; None: only those",
    )
    seed: int = Field(0, description="seed of order, augmentation and dropout; not of the initial weights")

    @model_validator(mode="after")
    def _check_nesterov(self) -> TrainingPlan:
        if self.optimizer == "sgd" and self.momentum == 0:
            raise ValueError("sgd uses Nesterov momentum, which needs momentum > 0")
        return self
