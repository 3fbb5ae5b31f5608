"""What the student sees: a strongly changed view of an image, of whose plain view the teacher gave the label.

Imam et al., NoLA (arXiv 2411.19346), step 3, with the numbers of its code. Images keep their size.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from snellen.training.transforms import (
    BatchTransform,
    colour_jitter,
    in_sequence,
    random_blur,
    random_flips,
    random_perspectives,
    random_resized_crops,
)


class StrongView(BaseModel):
    """Random resized crop, flip, jitter of colours, perspective, jitter again, blur: in this order.

    >>> len(StrongView(flips=False).steps())
    5
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    smallest_crop: float = Field(0.2, gt=0, le=1, description="least share of an image that a crop shows")
    flips: bool = Field(True, description="mirror half of the images; not for text, laterality and the like")
    brightness: float = Field(0.4, ge=0, le=1, description="of the jitter: factors are in 1 ± this")
    contrast: float = Field(0.4, ge=0, le=1, description="as brightness")
    saturation: float = Field(0.4, ge=0, le=1, description="as brightness")
    hue: float = Field(0.1, ge=0, le=0.5, description="of the jitter: turns of the colour circle, ± this")
    jitter_share: float = Field(0.8, ge=0, le=1, description="of the images that are jittered, each of two times")
    distortion: float = Field(0.2, ge=0, lt=1, description="how far corners move, in half heights and widths")
    perspective_share: float = Field(0.5, ge=0, le=1, description="of the images that are seen from aside")
    blur: tuple[float, float] = Field(
        (0.1, 2.0), description="least and largest standard deviation of the blur, pixels; of images of 224 pixels"
    )

    def steps(self) -> tuple[BatchTransform, ...]:
        """The changes, in order."""
        jitter = colour_jitter(self.brightness, self.contrast, self.saturation, self.hue, share=self.jitter_share)
        return (
            random_resized_crops(self.smallest_crop),
            *([random_flips] if self.flips else []),
            jitter,
            random_perspectives(self.distortion, share=self.perspective_share),
            jitter,
            random_blur(*self.blur),
        )

    def transform(self) -> BatchTransform:
        """All of them, each with its own randomness."""
        return in_sequence(*self.steps())
