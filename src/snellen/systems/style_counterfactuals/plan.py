"""Numbers of a training: those that were published, and those of a small run; and the kind of each step.

Qi et al., CBMS 2025, arXiv 2501.01392, as its released code sets them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from snellen.systems.style_counterfactuals.networks import Sizes

Kind = Literal["noise", "encoder"]


class StylePlan(BaseModel):
    """Numbers of a training; the defaults are the published ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sizes: Sizes = Sizes()
    steps: int = Field(100_000, ge=1, description="steps, noise and encoder steps counted together")
    batch_size: int = Field(64, ge=1, description="images of a micro-batch")
    accumulate: int = Field(8, ge=1, description="micro-batches of a step")
    learning_rate: float = Field(2e-4, gt=0, description="of generator and encoder")
    critic_factor: float = Field(1.5, gt=0, description="of the critic's learning rate")
    betas: tuple[float, float] = (0.5, 0.9)
    rec_scale: float = Field(1.0, ge=0, description="weight of the reconstruction loss")
    codes_scale: float = Field(1.0, ge=0, description="weight of the codes within the reconstruction loss")
    kl_scale: float = Field(1.0, ge=0, description="weight of the classifier's consistency")
    penalty_every: int = Field(4, ge=0, description="steps between gradient penalties; 0: none")
    penalty: float = Field(10.0, ge=0, description="weight of the gradient penalty")
    path_every: int = Field(32, ge=0, description="steps between path length penalties; 0: none")
    path_start: int = Field(5000, ge=0, description="first step with one")
    mixing: float = Field(0.9, ge=0, le=1, description="share of noise images whose late blocks take a second noise")
    average_decay: float = Field(0.995, ge=0, lt=1, description="of the averaged generator")
    average_every: int = Field(10, ge=1, description="steps between updates of the average")
    average_start: int = Field(20_000, ge=0, description="the average follows the generator up to this step")
    calibrated: bool = Field(False, description="codes begin with mean 0 and deviation 1 over training images")
    warm_up: int = Field(0, ge=0, description="first steps, which only bring pixels and edges near")
    warm_up_rate: float = Field(5e-3, gt=0, description="largest learning rate of the warm-up; it ends at the plan's")
    warm_up_betas: tuple[float, float] = (0.9, 0.99)

    def rate(self, step: int) -> float:
        """Learning rate of generator and encoder: in a warm-up it rises, then falls by half a cosine to the plan's.

        >>> plan = StylePlan(warm_up=160)
        >>> plan.rate(0), plan.rate(9), plan.rate(160)
        (0.0005, 0.005, 0.0002)
        """
        if step >= self.warm_up:
            return self.learning_rate
        rising, falls = max(self.warm_up // 16, 1), 0.0
        if step >= rising:
            falls = 0.5 - 0.5 * math.cos(math.pi * (step - rising) / (self.warm_up - rising))
        top = self.warm_up_rate * min((step + 1) / rising, 1.0)
        return top + (self.learning_rate - top) * falls

    def lasting(self, steps: int) -> StylePlan:
        """The same plan with another number of steps; warm-up and average span the same share of them.

        An average that forgets too slowly for its run ends on a generator long gone, beside a newer encoder.

        >>> short = StylePlan().lasting(1000)
        >>> short.average_start, short.average_every, short.average_decay
        (200, 1, 0.95)
        """
        ratio = steps / self.steps
        every = max(min(round(self.average_every * ratio), self.average_every), 1)
        span = ratio * self.average_every / (1 - self.average_decay)  # steps until the average has forgotten 63 %
        return self.model_copy(
            update={
                "steps": steps,
                "warm_up": round(self.warm_up * ratio),
                "average_start": round(self.average_start * ratio),
                "average_every": every,
                "average_decay": round(max(1 - every / span, 0.0), 6),
            }
        )


PUBLISHED = StylePlan()

#: For minutes of one core: images of 32 pixels, 296 coordinates. At the mean image the gradient of the consistency with
#: a sure classifier is tens of times that of the pixels, and that of the perceptual distance some times. So the first
#: seven eighths of a short training bring pixels near, at a rate of their own; at rebuilt images all are of one order.
SMALL = StylePlan(
    sizes=Sizes(side=32, capacity=4, most=64, width=32, mixed=8, mapping_layers=2, backbone_width=8),
    steps=2400,
    batch_size=16,
    accumulate=1,
    learning_rate=3e-4,
    critic_factor=5.0,
    rec_scale=40.0,
    codes_scale=0.1,
    kl_scale=1.0,
    path_every=0,
    average_decay=0.97,
    average_every=1,
    average_start=2180,
    calibrated=True,
    warm_up=2100,
)

PRESETS: Mapping[str, StylePlan] = {"published": PUBLISHED, "small": SMALL}


def kind_of(step: int, warm_up: int = 0) -> Kind:
    """Even steps draw noise, odd ones encode images, as do all in front of the end of the warm-up."""
    return "encoder" if step % 2 or step < warm_up else "noise"
