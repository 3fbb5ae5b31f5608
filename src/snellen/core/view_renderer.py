"""Objects that can be drawn from anywhere: what an attack on the camera gets in place of images."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class ViewRenderer(Protocol):
    """Objects that can be drawn from anywhere; a viewpoint is six numbers (:mod:`snellen.data.worlds.viewpoints`)."""

    @property
    def objects(self) -> tuple[str, ...]:
        """Ids of the objects; each fits a sphere of radius 1 about the origin, and z points up."""
        ...

    def class_of(self, object_id: str) -> str:
        """Name of the class of an object."""
        ...

    def render(self, object_id: str, viewpoints: Tensor) -> tuple[Tensor, Tensor]:
        """Render one object from viewpoints (n, 6).

        Returns:
            Images, float32 (n, 3, h, w) in [0, 1], and coverage by the object, float32 (n, h, w) in [0, 1].
        """
        ...
