"""Backgrounds that follow the class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from snellen.data.worlds.optotypes.factors import BACKGROUNDS, Background
from snellen.data.worlds.optotypes.scene import Scene
from snellen.data.worlds.planting.scene_shortcut import SceneShortcut, one_each


class BackgroundShortcut(SceneShortcut):
    """Each class on its own background, mostly.

    >>> defect = BackgroundShortcut(backgrounds=("grass", "sand"))
    >>> defect.changed(Scene(), defect.values_by_class(["star", "ring"])[1]).background
    'sand'
    """

    name: ClassVar[str] = "background_shortcut"

    backgrounds: tuple[Background, ...] | None = Field(
        None, description="own background of each class, in their order; None: all there are in turn"
    )

    def values_by_class(self, class_names: Sequence[str]) -> tuple[str, ...]:
        """Own background of each class."""
        return one_each(self.backgrounds, BACKGROUNDS, class_names, "backgrounds")

    def changed(self, scene: Scene, value: str) -> Scene:
        """The scene on this background."""
        return scene.model_copy(update={"background": value})
