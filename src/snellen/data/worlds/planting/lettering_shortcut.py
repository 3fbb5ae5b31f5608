"""Letters that name the class, or another one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from snellen.core.errors import InputError
from snellen.data.worlds.optotypes.factors import Colour
from snellen.data.worlds.optotypes.scene import Lettering, Letters, Scene
from snellen.data.worlds.planting.scene_shortcut import SceneShortcut, one_each

#: Distance from the upper or lower edge, in half sides of the image.
_MARGIN = 0.05


class LetteringShortcut(SceneShortcut):
    """Letters over the image that name the class, or wrongly another one. Letters that a scene has already go.

    Left out, ``texts`` are the first letters of the class names: as few as tell all of them apart.

    >>> LetteringShortcut().values_by_class(["circle", "cross", "star"])
    ('CI', 'CR', 'ST')
    """

    name: ClassVar[str] = "lettering_shortcut"

    texts: tuple[Letters, ...] | None = Field(
        None, description="own text of each class: 1 to 12 capital letters and digits"
    )
    edge: Literal["top", "bottom"] = Field("bottom", description="where the letters are")
    height: float = Field(0.3, gt=0, le=1, description="of a letter, in half sides of the image")
    colour: Colour = Field("white", description="of the letters")
    opacity: float = Field(1.0, gt=0, le=1, description="of the letters")

    def values_by_class(self, class_names: Sequence[str]) -> tuple[str, ...]:
        """Own text of each class."""
        if self.texts is not None:
            return one_each(self.texts, self.texts, class_names, "texts")
        letters = ["".join(one for one in name.upper() if one.isascii() and one.isalnum()) for name in class_names]
        for length in range(1, 13):
            texts = tuple(name[:length] for name in letters)
            if len(set(texts)) == len(texts) and all(texts):
                return texts
        raise InputError(
            f"the first letters do not tell the classes apart ({', '.join(class_names)}); give their texts yourself"
        )

    def changed(self, scene: Scene, value: str) -> Scene:
        """The scene with these letters."""
        place = 1 - self.height / 2 - _MARGIN
        lettering = Lettering(
            text=value,
            y=place if self.edge == "bottom" else -place,
            height=self.height,
            colour=self.colour,
            opacity=self.opacity,
        )
        return scene.model_copy(update={"lettering": lettering})
