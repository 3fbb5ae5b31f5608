"""The numbers of instance-level learning, as published by default."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

#: Where pseudo labels come from: the prototypes are the method, the classifier itself is its ablation.
LabelledBy = Literal["prototypes", "classifier"]


class InstanceSettings(BaseModel):
    """Settings of instance-level learning besides how long and how fast."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pretraining_epochs: int = Field(
        1, ge=0, description="first epochs, in which the label of its bag is the label of each instance"
    )
    warmup_epochs: int = Field(
        20, ge=0, description="epochs after them without pseudo labels, in which instances are told from each other"
    )
    warmup_on: Literal["positive_bags", "all"] = Field(
        "positive_bags", description="instances of the warm-up; those of positive bags alone, as published"
    )
    bags_from: int = Field(30, ge=1, description="epoch, of all from 1, from which on whole bags count too")
    bag_weight: float = Field(1.0, ge=0, description="weight of the loss of whole bags")
    contrast_weight: float = Field(0.5, ge=0, description="weight of the contrastive loss; 0 is its ablation")
    temperature: float = Field(0.07, gt=0, description="of the contrastive loss")
    projection: int = Field(128, ge=2, description="length of a projected instance")
    queue: int = Field(8192, ge=1, description="keys that are remembered")
    key_momentum: float = Field(0.999, ge=0, lt=1, description="share of the old weights that the key encoder keeps")
    prototype_momentum: float = Field(0.9, ge=0, lt=1, description="share of the old prototype that an instance leaves")
    labelled_by: LabelledBy = Field(
        "prototypes", description="what moves pseudo labels; the classifier itself is the ablation"
    )
    first_inertia: float = Field(
        0.95,
        ge=0,
        le=1,
        description="share of a pseudo label that is kept in the first of all epochs, from which it goes evenly to the "
        "last",
    )
    last_inertia: float = Field(0.8, ge=0, le=1, description="share of a pseudo label that is kept, in the last epoch")
    at_least_one: bool = Field(
        False, description="before each epoch, give each positive bag without a positive instance its likeliest one"
    )
    parity: bool = Field(
        False,
        description="count whole bags as the published code does: the first two entries of their mean hidden vector, "
        "through two softmaxes, instead of their mean probability",
    )
