"""A set of random scenes, described by its parameters."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from snellen.core.images import ImageSet, Split
from snellen.core.method import Method
from snellen.core.randomness import derive_seed
from snellen.data.worlds.optotypes.factors import (
    BACKGROUNDS,
    COLOURS,
    NUISANCES,
    SHAPES,
    TEXTURES,
    TILTS,
    Background,
    Colour,
    Lighting,
    Nuisance,
    Shape,
    Size,
    Style,
    Texture,
    Tilt,
)
from snellen.data.worlds.optotypes.rendering import LARGEST_SIZE, LEAST_SIZE
from snellen.data.worlds.optotypes.sampling import SIZES_OF_ONE, SIZES_OF_SEVERAL, Choices, draw_scene
from snellen.data.worlds.optotypes.scene import Scene, Strength
from snellen.data.worlds.optotypes.scene_set import LABELS, scene_images

Share = Annotated[float, Field(ge=0, le=1)]

LabelFactor = Literal["shape", "colour", "texture", "size", "tilt", "column", "row", "background", "lighting", "style"]

#: Individuals of a split are numbered from here on, so that no two splits share one.
_FIRST_INDIVIDUAL: dict[Split, int] = {"train": 1, "tune": 1_000_001, "test": 2_000_001}

#: Far fewer than lie between the first numbers of two splits.
_MOST_INDIVIDUALS = 10_000


class Scenes(Method):
    """Random scenes. What is not narrowed varies over all its values.

    >>> Scenes(count=3, shapes=("star", "ring")).images(split="train")
    ImageSet('optotypes scenes', 3 images, 2 classes, split=train)
    """

    name: ClassVar[str] = "scenes"

    count: int = Field(1000, ge=1, le=1_000_000, description="images in each split")
    size: int = Field(32, ge=LEAST_SIZE, le=LARGEST_SIZE, description="side of the images, pixels")
    label: LabelFactor = Field("shape", description="the factor that is the class, of the first object or the scene")
    objects: tuple[int, int] = Field((1, 1), description="least and largest number of objects, 1 to 4")
    shapes: tuple[Shape, ...] = Field(SHAPES, min_length=1, description="shapes that occur")
    colours: tuple[Colour, ...] = Field(COLOURS, min_length=1, description="colours that occur")
    textures: tuple[Texture, ...] = Field(TEXTURES, min_length=1, description="textures that occur")
    sizes: tuple[Size, ...] | None = Field(
        None,
        min_length=1,
        description="sizes that occur; left out, those that fit: tiny and small for several objects, small to large "
        "for one",
    )
    tilts: tuple[Tilt, ...] = Field(TILTS, min_length=1, description="tilts that occur")
    backgrounds: tuple[Background, ...] = Field(BACKGROUNDS, min_length=1, description="backgrounds that occur")
    lightings: tuple[Lighting, ...] = Field(("bright",), min_length=1, description="lightings that occur")
    styles: tuple[Style, ...] = Field(("photo",), min_length=1, description="styles that occur")
    nuisances: tuple[Nuisance, ...] = Field(NUISANCES, description="nuisances that occur, at most one in a scene")
    nuisance_share: Share = Field(0.0, description="share of scenes with a nuisance")
    strengths: tuple[Strength, Strength] = Field((1.0, 4.0), description="least and largest strength of a nuisance")
    lettering_share: Share = Field(0.0, description="share of scenes with text over them")
    individuals: int = Field(
        0,
        ge=0,
        le=_MOST_INDIVIDUALS,
        description="individuals of each class in each split, which deviate a little from the ideal shape; 0 shows the "
        "ideal shape alone. No two splits share an individual",
    )
    captions: bool = Field(True, description="whether the table has captions")
    seed: int = Field(0, description="seed of everything random")

    @model_validator(mode="after")
    def _in_order(self) -> Scenes:
        least, most = self.objects
        if not 1 <= least <= most <= 4:
            raise ValueError(f"objects must be two numbers from 1 to 4, the smaller one first; got {least}, {most}")
        for field in (
            "shapes",
            "colours",
            "textures",
            "sizes",
            "tilts",
            "backgrounds",
            "lightings",
            "styles",
            "nuisances",
        ):
            values = getattr(self, field) or ()
            if len(set(values)) < len(values):
                raise ValueError(f"{field} must differ; got {', '.join(values)}")
        if self.strengths[0] > self.strengths[1]:
            raise ValueError(f"the least strength must come first; got {self.strengths[0]}, {self.strengths[1]}")
        return self

    def scenes(self, split: Split = "test") -> list[Scene]:
        """The records of one split; the n-th does not depend on how many there are.

        Raises:
            InputError: objects of these sizes do not fit into a scene.
        """
        first = _FIRST_INDIVIDUAL[split]
        choices = Choices(
            shapes=self.shapes,
            colours=self.colours,
            textures=self.textures,
            sizes=self.sizes,
            tilts=self.tilts,
            backgrounds=self.backgrounds,
            lightings=self.lightings,
            styles=self.styles,
            objects=self.objects,
            nuisances=self.nuisances,
            nuisance_share=self.nuisance_share,
            strengths=self.strengths,
            lettering_share=self.lettering_share,
            individuals=range(first, first + self.individuals) if self.individuals else range(1),
        )
        return [draw_scene(choices, derive_seed(self.seed, "scene", split, row)) for row in range(self.count)]

    def images(self, *, split: Split = "test") -> ImageSet:
        """One split as an image set. ``unit_id`` is the individual of the first object, where there are individuals.

        Raises:
            InputError: objects of these sizes do not fit into a scene.
        """
        scenes = self.scenes(split)
        occurring = self._occurring()
        units = [f"{scene.objects[0].shape} {scene.objects[0].instance}" for scene in scenes]
        return scene_images(
            scenes,
            size=self.size,
            label=self.label,
            class_names=[value for value in LABELS[self.label][0] if value in occurring],
            ids=[f"{split}/{row:06d}" for row in range(self.count)],
            unit_ids=units if self.individuals else None,
            split=split,
            captions=self.captions,
            name="optotypes scenes",
        )

    def _occurring(self) -> frozenset[str]:
        """Values that the label may take."""
        narrowed: dict[str, tuple[str, ...]] = {
            "shape": self.shapes,
            "colour": self.colours,
            "texture": self.textures,
            "size": self.sizes or (SIZES_OF_ONE if self.objects == (1, 1) else SIZES_OF_SEVERAL + SIZES_OF_ONE),
            "tilt": self.tilts,
            "background": self.backgrounds,
            "lighting": self.lightings,
            "style": self.styles,
        }
        return frozenset(narrowed.get(self.label, LABELS[self.label][0]))
