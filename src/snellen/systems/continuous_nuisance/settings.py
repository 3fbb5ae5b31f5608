"""The numbers of a slider's training."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from snellen.models.diffusion.low_rank import SLIDER, LowRank


class SliderFit(BaseModel):
    """Numbers of a slider's training; the defaults are the published ones.

    >>> SliderFit().low_rank() == SLIDER
    True
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(4, ge=1, description="of the change of each layer")
    alpha: float = Field(1.0, gt=0, description="a change is multiplied by alpha / rank")
    iterations: int = Field(400, ge=1, description="optimizer steps")
    learning_rate: float = Field(2e-4, gt=0, description="of AdamW, constant")
    batch_size: int = Field(16, ge=1, description="latents of one step")
    eta: float = Field(4.0, gt=0, allow_inf_nan=False, description="how far beyond the shifted prompt to aim")
    steps: int = Field(50, ge=2, description="of the sampler (DDIM) whose latents are trained on")
    size: int | None = Field(None, ge=8, description="height and width that are trained on; none: the generator's own")
    parity: bool = Field(
        False, description="tell the network timestep int(k * 1000 / steps) of a schedule of all timesteps (published)"
    )

    def low_rank(self) -> LowRank:
        """Rank, alpha and the layers: all but cross-attention and time embeddings."""
        return SLIDER.model_copy(update={"rank": self.rank, "alpha": self.alpha})


#: A training of seconds for the small generator of scenes.
SMALL_FIT = SliderFit(iterations=40, learning_rate=1e-3, batch_size=8, steps=12)
