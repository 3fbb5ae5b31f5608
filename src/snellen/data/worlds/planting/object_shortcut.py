"""A small object whose colour follows the class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from snellen.core.errors import InputError
from snellen.data.worlds.optotypes.factors import COLOURS, Colour, Shape
from snellen.data.worlds.optotypes.scene import Scene, SceneObject
from snellen.data.worlds.planting.scene_shortcut import SceneShortcut, one_each

#: Corners by name: downwards, then to the right.
Corner = Literal["top left", "top right", "bottom left", "bottom right"]

#: Objects that the record of a scene has room for.
MOST_OBJECTS = 8

#: Distance from the edges, in half sides of the image.
_MARGIN = 0.05


class ObjectShortcut(SceneShortcut):
    """A small object in a corner, in the colour of the class, mostly.

    It lies over everything and comes last among the objects of the record; the first is still what the class is of.

    >>> ObjectShortcut(shape="ring").changed(Scene(), "cyan").objects[0].colour
    'cyan'
    """

    name: ClassVar[str] = "object_shortcut"

    shape: Shape = Field("circle", description="of the small object")
    corner: Corner = Field("top left", description="where it is")
    radius: float = Field(0.16, gt=0, le=0.5, description="of the small object, in half sides of the image")
    colours: tuple[Colour, ...] | None = Field(
        None, description="own colour of each class, in their order; None: all there are in turn"
    )

    def values_by_class(self, class_names: Sequence[str]) -> tuple[str, ...]:
        """Own colour of each class."""
        return one_each(self.colours, COLOURS, class_names, "colours")

    def changed(self, scene: Scene, value: str) -> Scene:
        """The scene with the small object in this colour."""
        vertical, horizontal = self.corner.split()
        inside = 1 - self.radius - _MARGIN
        marker = SceneObject.model_validate(
            {
                "shape": self.shape,
                "colour": value,
                "radius": self.radius,
                "x": inside if horizontal == "right" else -inside,
                "y": inside if vertical == "bottom" else -inside,
            }
        )
        objects = (*scene.objects, marker)
        if len(objects) > MOST_OBJECTS:
            raise InputError(
                f"a scene holds at most {MOST_OBJECTS} objects; one of {len(scene.objects)} has no room for another"
            )
        return scene.model_copy(update={"objects": objects})
