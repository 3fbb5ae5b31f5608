"""Plain sampling: what a generator makes of prompts or classes, guided away from one reference.

From no prompt (classifier-free guidance, Ho and Salimans 2022), from a negative prompt, or from a weaker denoiser with
the same prompt (autoguidance, Karras et al. 2024): one formula, :mod:`snellen.models.diffusion.guidance`, with another
reference.
"""

from __future__ import annotations

from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.generation.generator_call import NO_CLASS, GeneratorCall
from snellen.methods.generation.guided_sampling import GuidedSampling
from snellen.methods.generation.made_images import generator_of, identities_of
from snellen.models.diffusion.condition import Condition
from snellen.models.diffusion.generate import Steer, Steering
from snellen.models.diffusion.guidance import ALWAYS, ReferenceGuidance, Rescaled


class Sample(GuidedSampling):
    """Sample from a generator, with classifier-free guidance, a negative prompt, or autoguidance."""

    name: ClassVar[str] = "sample"

    guidance_scale: float = Field(
        3.0, description="1 means none, 0 what the reference alone gives", allow_inf_nan=False
    )
    negative: str | None = Field(None, description="prompt to guide away from, instead of from no prompt")
    weak: str | None = Field(
        None, description="generator of the same kind, but weaker: guide away from what it predicts (autoguidance)"
    )
    interval: tuple[float, float] | None = Field(
        None, description="lowest and highest timestep of guidance, of those that it was trained with; none: always"
    )
    rescale: float = Field(
        0.0, ge=0, le=1, description="share of the guided predictions that is brought back to the unguided spread"
    )

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.negative is not None and self.weak is not None:
            raise ValueError("negative and weak are both what to guide away from; give one of them")
        if self.interval is not None and not self.interval[0] <= self.interval[1]:
            raise ValueError(
                f"the interval of guidance goes from a lower to a higher timestep; got {self.interval[0]} to "
                f"{self.interval[1]}"
            )
        return self

    def steering(self, requested: GeneratorCall) -> Steer:
        """One term, away from the reference.

        Raises:
            InputError: nothing to guide away from, or a class for a generator without a condition.
        """
        if requested.generator.takes == "nothing" and bool((requested.classes != NO_CLASS).any()):
            raise InputError(
                f"{requested.generator.name} takes no condition, so it cannot take a class: leave 'class' away, or "
                f"let a classifier guide, with classifier-guidance"
            )
        # Away from its own prompt there is no guidance, and no second prediction to pay for.
        scales = torch.tensor([1.0 if text == self.negative else self.guidance_scale for text in requested.captions])
        if not bool((scales != 1).any()):
            return lambda rows, rng: Steering()
        reference = None if self.weak is not None else self._reference(requested)
        denoiser = None if self.weak is None else generator_of(self.weak).denoiser
        interval = ALWAYS if self.interval is None else self.interval

        def steer(rows: range, rng: Randomness) -> Steering:
            away = None if reference is None else reference.select(rows)
            term = ReferenceGuidance(scales[list(rows)], away, denoiser, interval)
            return Steering([Rescaled([term], self.rescale)])

        return steer

    def recorded_scale(self) -> float:
        """The scale."""
        return self.guidance_scale

    def identities(self) -> dict[str, str]:
        """Hashes of the weights of the generator and of the weak one."""
        weak = {} if self.weak is None else identities_of(generator_of(self.weak), "weak ")
        return {**super().identities(), **weak}

    def _reference(self, requested: GeneratorCall) -> Condition:
        if self.negative is not None:
            return requested.generator.encode_prompts([self.negative] * len(requested))
        if requested.generator.takes == "nothing":
            raise InputError(
                f"{requested.generator.name} takes no condition, so there is nothing to guide away from: "
                f"--guidance-scale 1, or a weaker generator by --weak"
            )
        return requested.nothing
