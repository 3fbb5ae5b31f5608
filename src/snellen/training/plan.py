"""The parameters of a training, in one frozen model: what a lineage records and what a resumed run must agree with."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from snellen.training.schedules import Schedule

Optimizer = Literal["adamw", "sgd"]
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
    optimizer: Optimizer = Field("adamw", description="adamw, or sgd with Nesterov momentum")
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
    select: str = Field("accuracy", description="figure on the tune split by which the best epoch is chosen")
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
