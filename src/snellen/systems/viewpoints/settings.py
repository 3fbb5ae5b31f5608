"""The numbers of a search for viewpoints: one place for their defaults, which attack and training share."""

from __future__ import annotations

from pydantic import BaseModel, Field, field_validator


class SearchSettings(BaseModel):
    """Fields of methods that search for viewpoints (GMVFool, Ruan et al. 2023; ViewFool with one component)."""

    components: int = Field(15, ge=1, le=100, description="Gaussians in the mixture of each object; 1 is ViewFool")
    popsize: int = Field(
        101,
        ge=3,
        le=2001,
        description="views of a step, odd: mirrored pairs and a mean; one more for each component but one",
    )
    iterations: int = Field(50, ge=0, le=10_000, description="steps of a search that starts anew")
    entropy_weight: float = Field(0.05, ge=0, allow_inf_nan=False, description="weight of the mixture's entropy")
    start_deviation: float = Field(0.1, gt=0, le=1, description="deviation of a new mixture, unbounded numbers")
    start_spread: float = Field(
        1.0, ge=0, le=3, description="means of a new mixture lie within ± this; 0: all in the middle of the ranges"
    )
    mean_rate: float = Field(0.1, gt=0, le=10, description="step size of means, × 0.99 in every step")
    momentum: float = Field(0.9, ge=0, lt=1, description="of the means' slopes")
    deviation_rate: float = Field(0.2, ge=0, le=10, description="step size of deviations, at most 20 % in a step")
    least_deviation: float = Field(0.05, ge=0, le=1, description="of a component; 0 is used by parity")
    largest_deviation: float = Field(0.15, gt=0, le=3, description="of a component")
    weight_rate: float = Field(0.0, ge=0, le=1, description="step size of weights (published: 0.02, not used)")
    stop_when_fooled: bool = Field(
        False, description="end a search with the first step whose views all succeed: cheaper, and less wide"
    )
    least_coverage: float = Field(
        0.005, ge=0, lt=1, description="share of the picture that an object must cover; less is a blank view"
    )
    parity: bool = Field(
        False,
        description="as the published code: a mixture for each coordinate, entropy of each draw's own component, no "
        "least deviation, and deviations that are forgotten where a search goes on",
    )

    @field_validator("popsize")
    @classmethod
    def _odd(cls, popsize: int) -> int:
        if popsize % 2 == 0:
            raise ValueError(f"must be odd: mirrored pairs and the means; got {popsize}")
        return popsize
