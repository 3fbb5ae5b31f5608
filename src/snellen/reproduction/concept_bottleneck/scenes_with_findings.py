"""Scenes that are read like pictures of patients: signs make the finding, and the background gives it away in training.

One object has three signs or not: a warm colour, a striped texture, a pointed shape. Where a finding needs them, the
ground under it is grass mostly in one class and sand in the other, in training and in the images that choose a penalty;
in the reversed set it is the other way round. The list of concepts is what a reader would look for, by question; a
language model's list may also hold the ground, which is planted here to be filtered out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from snellen.core.images import ImageSet, Split
from snellen.core.randomness import Randomness
from snellen.data.worlds.optotypes.factors import Background
from snellen.data.worlds.optotypes.scene import Scene, SceneObject
from snellen.data.worlds.optotypes.scene_set import scene_images
from snellen.data.worlds.optotypes.small_world import COLOURS, SHAPES, SIZE, TEXTURES, WORLD
from snellen.data.worlds.planting.scene_shortcuts import BackgroundShortcut
from snellen.data.worlds.planting.truth import set_column
from snellen.models.language.listed_answers import ListedAnswers
from snellen.systems.concept_bottleneck.concept_source import Concepts, read_concepts

#: What a scene has or has not.
WARM, POINTED = ("red", "yellow", "purple"), ("triangle", "star", "heart")

CLASSES = ("benign", "suspicious")

GROUNDS: tuple[Background, Background] = ("grass", "sand")

#: Words for the ground, which no concept may hold.
CONFOUNDERS = ("grass", "lawn", "sand", "beach")

#: two_of_three: at least two of the signs. both: a pattern of any kind and a warm colour.
Finding = Literal["two_of_three", "both"]

SIZES = ("medium-sized", "large")

#: What a reader looks for, by question.
LISTS: Mapping[str, Sequence[str]] = {
    "shape": [f"a {shape}" for shape in SHAPES],
    "colour": [f"a {colour} object" for colour in COLOURS],
    "texture": [f"a {texture} object" for texture in TEXTURES],
    "size": [f"a {size} object" for size in SIZES],
}

#: What a careless source adds.
LEAK = {"ground": ["on grass", "on sand"]}


@dataclass(frozen=True)
class Sizes:
    """Images of each set: training, choosing, as in training, reversed."""

    train: int
    val: int
    test: int


def suspicious(one: SceneObject, finding: Finding) -> bool:
    """Whether an object makes the finding.

    >>> suspicious(SceneObject(shape="ring", colour="red", texture="striped"), "two_of_three")
    True
    """
    warm = one.colour in WARM
    if finding == "both":
        return warm and one.texture != "plain"
    return warm + (one.texture == "striped") + (one.shape in POINTED) >= 2


def findings(split: Split, count: int, seed: int, finding: Finding, *, strength: float, first: int = 0) -> ImageSet:
    """Scenes with the finding as label, and the ground as ``group``.

    Args:
        split: no two share a scene.
        count: of them.
        seed: of scenes and grounds.
        finding: see :data:`Finding`.
        strength: probability of the class's own ground.
        first: scenes of the split that are left out before these.
    """
    scenes = WORLD.model_copy(update={"count": first + count, "seed": seed}).scenes(split)[first:]
    labels = np.array([int(suspicious(scene.objects[0], finding)) for scene in scenes])
    ids = [f"{split}/{row:06d}" for row in range(first, first + count)]
    defect = BackgroundShortcut(backgrounds=GROUNDS, strength=strength)
    placed, _ = defect.on_scenes(scenes, labels, class_names=CLASSES, ids=ids, rng=Randomness(seed))
    grounds = [scene.background for scene in placed]
    drawn = scene_images(placed, size=SIZE, ids=ids, groups=grounds, split=split, captions=False, name=finding)
    return with_labels(drawn, labels)


def with_labels(images: ImageSet, labels: NDArray[np.int64]) -> ImageSet:
    """The same images with the finding as their class."""
    table = set_column(images.table, "label", pa.array(labels.tolist(), pa.int64()))
    return replace(images, table=table, class_names=CLASSES)


def concepts(*, leak: bool = False) -> Concepts:
    """The concepts of a list in which the ground stands too, filtered, or (``leak``) as they came."""
    listed = ListedAnswers({**LISTS, **LEAK}, name="listed")
    return read_concepts(listed, CLASSES, confounders=() if leak else CONFOUNDERS)


def truth(scenes: Sequence[Scene], phrases: Sequence[str]) -> NDArray[np.int64]:
    """Which concepts each scene shows: 0 and 1, int64 (n, N)."""
    shown = np.zeros((len(scenes), len(phrases)), dtype=np.int64)
    for row, scene in enumerate(scenes):
        one = scene.objects[0]
        true = {
            f"a {one.shape}",
            f"a {one.colour} object",
            f"a {one.texture} object",
            f"a {'medium-sized' if one.size == 'medium' else one.size} object",
            f"on {scene.background}",
        }
        shown[row] = [int(phrase in true) for phrase in phrases]
    return shown
