"""Scenes with references that leave most factors out, as people's captions do, and what a caption states of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.images import Split
from snellen.core.preprocessing import to_unit
from snellen.core.randomness import Randomness
from snellen.data.worlds.optotypes.captions import caption
from snellen.data.worlds.optotypes.described import Described, Factor, described
from snellen.data.worlds.optotypes.parser import parse
from snellen.data.worlds.optotypes.rendering import render
from snellen.data.worlds.optotypes.scene import Scene
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.data.worlds.optotypes.vocabulary import forms, values

#: What the embedded captioner and towers know: one object of six shapes, without nuisances.
WORLD = Scenes(
    size=32,
    shapes=("square", "triangle", "star", "cross", "ring", "heart"),
    colours=("red", "yellow", "green", "blue", "purple", "white"),
    textures=("plain", "striped", "dotted"),
    sizes=("medium", "large"),
    tilts=("upright",),
    backgrounds=("grey", "grass", "sand", "brick"),
    captions=False,
)

#: Factors that a full caption names.
TOLD: tuple[Factor, ...] = ("shape", "colour", "texture", "size", "place", "background")

#: How often a reference leaves each out: under-specific references are the paper's premise. What is coarse (background,
#: size, place) is mostly stated, what distinguishes one object from another (shape, colour, texture) seldom; an object
#: without a shape is "an object". The likeliest caption then is about as long as the references, and generic.
LEFT_OUT = {"shape": 0.75, "colour": 0.75, "texture": 0.75, "size": 0.2, "place": 0.25, "background": 0.15}

#: References of an image, as in MS-COCO.
REFERENCES = 5

_OF_OBJECTS: tuple[Factor, ...] = ("shape", "colour", "texture", "size", "place")


@dataclass(frozen=True, eq=False)
class Captioned:
    """Scenes with their pictures and captions.

    Attributes:
        scenes: n records.
        images: float (n, 3, h, w) in [0, 1].
        vague: references of each, most factors left out.
        full: references of each that name all factors.
    """

    scenes: Sequence[Scene]
    images: Tensor
    vague: list[list[str]]
    full: list[list[str]]


def captioned(split: Split, count: int, *, seed: int) -> Captioned:
    """The scenes of a split, drawn and described."""
    scenes = WORLD.model_copy(update={"count": count, "seed": seed}).scenes(split)
    parts = [render(scenes[start : start + 256], WORLD.size).pixels for start in range(0, count, 256)]
    return Captioned(
        scenes=scenes,
        images=to_unit(torch.cat(parts)),
        vague=references(scenes, seed=seed, left_out=LEFT_OUT),
        full=references(scenes, seed=seed + 1, left_out=dict.fromkeys(LEFT_OUT, 0.0)),
    )


def references(scenes: Sequence[Scene], *, seed: int, left_out: dict[str, float]) -> list[list[str]]:
    """:data:`REFERENCES` captions of each scene in words of their own, each leaving out what chance decides."""
    rng = Randomness(seed).child("references").for_examples([str(scene.seed) for scene in scenes])
    draws = rng.uniform("left out", (REFERENCES, len(TOLD))).tolist()
    found = []
    for scene, rows in zip(scenes, draws, strict=True):
        known, told = described(scene), []
        for number, row in enumerate(rows):
            detail = [factor for factor, draw in zip(TOLD, row, strict=True) if draw >= left_out[factor]]
            told.append(caption(known, seed=scene.seed + number, detail=detail))
        found.append(told)
    return found


def stated(said: Described) -> frozenset[str]:
    """Facts of a description: "colour red", of its first object, and "background grass"."""
    facts = {f"background {said.background}"} if said.background is not None else set()
    if said.objects:
        one = said.objects[0]
        facts |= {f"{name} {getattr(one, name)}" for name in _OF_OBJECTS if getattr(one, name) is not None}
    return frozenset(facts)


def read_back(text: str) -> frozenset[str] | None:
    """Facts that a caption states; None where the parser of captions cannot read it, which gibberish is."""
    try:
        return stated(parse(text))
    except InputError:
        return None


def true_facts(scenes: Sequence[Scene]) -> list[frozenset[str]]:
    """Facts of each scene."""
    return [stated(described(scene)) for scene in scenes]


def fact_vectors(facts: Sequence[frozenset[str] | None], names: Sequence[str]) -> Tensor:
    """1 where a fact is stated: float (n, f). Two descriptions are as similar as they have facts in common."""
    rows = [[float(found is not None and name in found) for name in names] for found in facts]
    return torch.tensor(rows)


def synonyms() -> list[list[str]]:
    """Single words that name the same shape, colour or texture."""
    found = [
        [form for form in forms(slot, value) if " " not in form]
        for slot in ("shape", "colour", "texture")
        for value in values(slot)
    ]
    return [words for words in found if len(words) > 1]
