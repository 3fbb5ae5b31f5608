"""Shortcuts in scenes: a background, letters or a small object that follow the class, more or less."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.randomness import Randomness
from snellen.data.worlds.optotypes.factors import BACKGROUNDS, COLOURS, Background, Colour, Shape
from snellen.data.worlds.optotypes.scene import Lettering, Letters, Scene, SceneObject
from snellen.data.worlds.optotypes.scene_set import SceneSource, scene_images
from snellen.data.worlds.planting.planted_defect import PlantedDefect, integer_by_id, single_labels, uniform_by_id
from snellen.data.worlds.planting.truth import set_column, with_truth

#: planted: the class's own value with the probability ``strength``, else one of the others; aligned: always its own;
#: conflicting: always one of the others; neutral: each value alike, for every class.
Correlation = Literal["planted", "aligned", "conflicting", "neutral"]


@dataclass(frozen=True, eq=False)
class Correlated:
    """Values of rows.

    Attributes:
        values: position of each row's value in the values by class (of the first class that has it), int64 (n,).
        aligned: whether it is the own value of the row's class, bool (n,).
    """

    values: NDArray[np.int64]
    aligned: NDArray[np.bool_]


def correlate(
    labels: NDArray[np.int64],
    values_by_class: Sequence[str],
    *,
    strength: float,
    correlation: Correlation,
    ids: Sequence[str],
    rng: Randomness,
) -> Correlated:
    """Give each row a value that follows its class.

    With v different values, a strength of 1 / v is no correlation. A row's value depends on the seed, its id and its
    class alone, and a row that is aligned at one strength is aligned at every higher one.

    >>> labels = np.array([0, 1, 1])
    >>> found = correlate(labels, ["grass", "sand"], strength=1, correlation="planted", ids="abc", rng=Randomness(0))
    >>> found.values.tolist(), found.aligned.tolist()
    ([0, 1, 1], [True, True, True])

    Args:
        labels: (n,), each with a value in ``values_by_class``.
        values_by_class: own value of each class; classes may share one.
        strength: in [0, 1].
        correlation: see :data:`Correlation`.
        ids: of the rows (n).
        rng: which rows are aligned, and what others get.

    Raises:
        InputError: fewer than two different values.
    """
    pool = list(dict.fromkeys(values_by_class))
    if len(pool) < 2:
        raise InputError(f"a shortcut needs at least two different values; got {', '.join(pool) or 'none'}")
    first = np.asarray([values_by_class.index(value) for value in pool], dtype=np.int64)
    own = np.asarray([pool.index(value) for value in values_by_class], dtype=np.int64)[labels]
    drawn = uniform_by_id(rng, ids, "aligned")
    if correlation == "neutral":
        values = integer_by_id(rng, ids, "value", len(pool))
    else:
        level = {"planted": strength, "aligned": 1.0, "conflicting": 0.0}[correlation]
        step = 1 + integer_by_id(rng, ids, "other", len(pool) - 1)
        values = np.where(drawn < level, own, (own + step) % len(pool))
    return Correlated(first[values], values == own)


def scenes_of(images: ImageSet) -> tuple[Scene, ...]:
    """The scene of each image (n).

    Raises:
        InputError: the images are no scenes, or their pixels were changed after they were drawn.
    """
    if not isinstance(images.source, SceneSource):
        raise InputError(
            f"{images.name} is no set of scenes (its pixels come from {type(images.source).__name__}); plant shortcuts "
            f"in scenes before triggers and copies"
        )
    assert images.rows is not None
    return tuple(images.source.scenes[row] for row in images.rows.tolist())


def with_scenes(images: ImageSet, scenes: Sequence[Scene]) -> ImageSet:
    """The same images of other scenes: pixels, attributes, captions and boxes follow; labels and all else stay.

    Args:
        images: a set of scenes.
        scenes: one for each image.
    """
    assert isinstance(images.source, SceneSource)
    present = images.table.column_names
    # Of the set that is drawn, only what follows from the scenes is taken; a background is a label that each scene has.
    drawn = scene_images(
        scenes, size=images.source.size, label="background", ids=images.ids, captions="caption" in present
    )
    table = images.table
    for column in ("attributes", "boxes", "caption"):
        if column in present:
            table = set_column(table, column, drawn.table[column])
    return replace(images, source=drawn.source, table=table, rows=np.arange(len(table), dtype=np.int64))


class SceneShortcut(PlantedDefect):
    """Something in a scene that follows the class and must not matter.

    ``group`` says "aligned" where it is the class's own value and "conflicting" where it is that of another class;
    ``planted`` holds the value. A test set is left alone unless its correlation is given: plant
    ``correlation="conflicting", touch_test=True`` in it to see what the shortcut does to a model.
    """

    strength: float = Field(0.95, ge=0, le=1, description="probability of the class's own value")
    correlation: Correlation = Field(
        "planted",
        description="planted: by strength; aligned: always the class's own value; conflicting: always of another "
        "class; neutral: each value alike",
    )

    @abstractmethod
    def values_by_class(self, class_names: Sequence[str]) -> tuple[str, ...]:
        """Own value of each class. Raises InputError when there are not enough."""

    @abstractmethod
    def changed(self, scene: Scene, value: str) -> Scene:
        """The scene with this value."""

    def on_scenes(
        self,
        scenes: Sequence[Scene],
        labels: NDArray[np.int64],
        *,
        class_names: Sequence[str],
        ids: Sequence[str],
        rng: Randomness,
    ) -> tuple[tuple[Scene, ...], Correlated]:
        """Plant the shortcut in scenes.

        Args:
            scenes: n records; they stay as they are.
            labels: classes (n,), 0 … K − 1.
            class_names: (K).
            ids: (n).
            rng: which rows are aligned.

        Returns:
            The scenes, and what each was given; ``values`` are positions in :meth:`values_by_class`.
        """
        values = self.values_by_class(class_names)
        given = correlate(
            labels, values, strength=self.strength, correlation=self.correlation, ids=ids, rng=self.draws(rng)
        )
        pairs = zip(scenes, given.values.tolist(), strict=True)
        return tuple(self.changed(scene, values[value]) for scene, value in pairs), given

    def plant(self, images: ImageSet, *, rng: Randomness) -> ImageSet:
        """The images with the shortcut, drawn anew when they are read; attributes, captions and boxes follow.

        Raises:
            InputError: the images are no scenes (or pixels were changed since), no labels, or only test images.
        """
        labels, _ = single_labels(images, "a shortcut")
        scenes = list(scenes_of(images))
        rows = np.flatnonzero(self.rows_in_reach(images) & (labels >= 0)).tolist()
        names, ids = images.class_names or (), images.ids
        values = self.values_by_class(names)
        changed, given = self.on_scenes(
            [scenes[row] for row in rows], labels[rows], class_names=names, ids=[ids[row] for row in rows], rng=rng
        )
        entries: list[dict[str, str | bool] | None] = [None] * len(images)
        groups: list[str | None] = [None] * len(images)
        planted = zip(rows, changed, given.values.tolist(), given.aligned.tolist(), strict=True)
        for row, scene, value, aligned in planted:
            scenes[row] = scene
            entries[row] = {"value": values[value], "aligned": aligned}
            groups[row] = "aligned" if aligned else "conflicting"
        return with_truth(with_scenes(images, scenes), self.truth_key, entries, groups=groups)


def one_each(
    given: Sequence[str] | None, usual: Sequence[str], class_names: Sequence[str], what: str
) -> tuple[str, ...]:
    """The values that were given, one for each class, or the usual ones in turn.

    >>> one_each(None, ["red", "blue"], ["a", "b", "c"], "colours")
    ('red', 'blue', 'red')

    Raises:
        InputError: more or fewer values than classes.
    """
    if given is None:
        return tuple(usual[place % len(usual)] for place in range(len(class_names)))
    if len(given) != len(class_names):
        raise InputError(f"{what}: expected one for each of {len(class_names)} classes, got {len(given)}")
    return tuple(given)


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


#: Distance from the upper or lower edge, in half sides of the image.
_LETTERS_MARGIN = 0.05


class LetteringShortcut(SceneShortcut):
    """Letters over the image that name the class, or wrongly another one. Letters that a scene has already go.

    Left out, ``texts`` are the first letters of the class names: as few as distinguish all of them.

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
            f"the first letters do not distinguish the classes ({', '.join(class_names)}); give their texts yourself"
        )

    def changed(self, scene: Scene, value: str) -> Scene:
        """The scene with these letters."""
        place = 1 - self.height / 2 - _LETTERS_MARGIN
        lettering = Lettering(
            text=value,
            y=place if self.edge == "bottom" else -place,
            height=self.height,
            colour=self.colour,
            opacity=self.opacity,
        )
        return scene.model_copy(update={"lettering": lettering})


#: Corners by name: downwards, then to the right.
Corner = Literal["top left", "top right", "bottom left", "bottom right"]

#: Objects that the record of a scene has room for.
MOST_OBJECTS = 8

#: Distance from the edges, in half sides of the image.
_OBJECT_MARGIN = 0.05


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
        inside = 1 - self.radius - _OBJECT_MARGIN
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
