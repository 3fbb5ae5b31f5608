"""Where in its frame a cut-out stands, and how large."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from snellen.core.randomness import derive_seed


class Box(NamedTuple):
    """A box in whole pixels: from (left, top) up to but without (right, bottom)."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return self.bottom - self.top


class Placement(BaseModel):
    """Size of the frame, and size and place of the object in it.

    Every draw is a function of the seed and the object's id alone.

    >>> Placement(size=100, least_share=0.5, most_share=0.5).place("crow", 40, 20)
    Box(left=25, top=37, right=75, bottom=62)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(224, ge=8, le=4096, description="edge of the square picture, pixels")
    least_share: float = Field(0.85, gt=0, le=1, description="smallest longer edge of an object, of the picture's edge")
    most_share: float = Field(0.85, gt=0, le=1, description="largest longer edge of an object, of the picture's edge")
    position: Literal["centre", "anywhere"] = Field("centre", description="in the middle, or anywhere inside at random")
    seed: int = Field(0, ge=0, description="seed of size and position")

    @model_validator(mode="after")
    def _ordered(self) -> Placement:
        if self.least_share > self.most_share:
            raise ValueError(f"least_share {self.least_share} is larger than most_share {self.most_share}")
        return self

    def place(self, object_id: str, width: int, height: int) -> Box:
        """Box in the frame of an object whose cut-out has this width and height (pixels), proportions kept."""
        share = self.least_share + (self.most_share - self.least_share) * self._uniform(object_id, "share")
        scale = share * self.size / max(width, height)
        across, down = (max(1, round(edge * scale)) for edge in (width, height))
        free = (self.size - across, self.size - down)
        if self.position == "centre":
            left, top = free[0] // 2, free[1] // 2
        else:
            left = int(self._uniform(object_id, "left") * (free[0] + 1))
            top = int(self._uniform(object_id, "top") * (free[1] + 1))
        return Box(left, top, left + across, top + down)

    def _uniform(self, object_id: str, stream: str) -> float:
        """A number in [0, 1): the upper 53 bits of 63, which a float holds exactly."""
        return (derive_seed(self.seed, stream, object_id) >> 10) / 2**53
