"""Objects of classes under nuisances: requests to a method, its images, thresholds without labels."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import to_unit
from snellen.core.randomness import Randomness, derive_seed
from snellen.systems.continuous_nuisance.filter_scores import thresholds_of_others
from snellen.systems.continuous_nuisance.method import ContinuousNuisance
from snellen.systems.continuous_nuisance.slider_folder import filter_of
from snellen.systems.continuous_nuisance.words import named_phrases

#: Objects of each class, and in all at most, for the thresholds of the filter.
CALIBRATING, MOST_CALIBRATING = 3, 48


@dataclass(frozen=True)
class GeneratedObject:
    """One object of a class, whose noise is the same under every shift and at every strength.

    >>> GeneratedObject("star", 2).id
    'star/0002'
    """

    class_name: str
    number: int

    @property
    def id(self) -> str:
        """Class and number."""
        return f"{self.class_name}/{self.number:04d}"


def objects_of(classes: Sequence[str], each: int) -> list[GeneratedObject]:
    """So many objects of each class, one of each in turn: of any number of them, as many are of each."""
    return [GeneratedObject(name, number) for number in range(1, each + 1) for name in classes]


def without_failures(method: ContinuousNuisance) -> tuple[ContinuousNuisance, tuple[str, ...]]:
    """The method without classes and shifts that have no trajectory, and a sentence for each that is left out.

    No slider is then trained for them. What is avoided of the other classes and shifts, :func:`requests_for` leaves
    out.

    Raises:
        InputError: what :meth:`ContinuousNuisance.avoided` refuses, or nothing is left to make.
    """
    avoided = method.avoided()
    if not avoided:
        return method, ()
    shifts = dict(zip(named_phrases(method.concept), method.concept, strict=True))
    classes = tuple(name for name in method.classes if any((shift, name) not in avoided for shift in shifts))
    if not classes:
        raise InputError(f"nothing is left to generate, the first reason: {next(iter(avoided.values()))}")
    left = tuple(text for shift, text in shifts.items() if any((shift, name) not in avoided for name in classes))
    reasons = tuple(f"{name} under {shift} was not made: {why}" for (shift, name), why in avoided.items())
    return method.model_copy(update={"classes": classes, "concept": left}), reasons


def requests_for(
    concepts: Sequence[str],
    objects: Sequence[GeneratedObject],
    seed: int,
    stream: str = "thing",
    avoided: Container[tuple[str, str]] = (),
) -> list[dict[str, Any]]:
    """Each object under every shift, with one seed: the shifts one after the other.

    Args:
        concepts: names of the shifts.
        objects: of the classes.
        seed: of everything random.
        stream: of these objects.
        avoided: shift and class of trajectories that are left out.
    """
    return [
        {
            "id": f"{concept}/{one_object.id}",
            "class": one_object.class_name,
            "concept": concept,
            "seed": derive_seed(seed, "nuisance", stream, one_object.id) % 2**31,
        }
        for concept in concepts
        for one_object in made_under(concept, objects, avoided)
    ]


def made_under(
    concept: str, objects: Sequence[GeneratedObject], avoided: Container[tuple[str, str]]
) -> list[GeneratedObject]:
    """The objects that are made under a shift: all but those of avoided classes."""
    return [one_object for one_object in objects if (concept, one_object.class_name) not in avoided]


def pixels_of(images: ImageSet, strengths: int) -> torch.Tensor:
    """Trajectories of a set whose images follow one another by strength: uint8 (n, strengths, 3, h, w)."""
    flat = [torch.from_numpy(np.array(images.read(row))).permute(2, 0, 1) for row in range(len(images))]
    return torch.stack(flat).unflatten(0, (-1, strengths))


def check_calibration(method: ContinuousNuisance) -> None:
    """Refuse a method whose filter is to have thresholds without labels, and that has one class alone.

    Raises:
        InputError: it has.
    """
    if len(method.classes) == 1 and method.text_image is not None:
        raise InputError(
            f"thresholds without labels come from images of other classes, and there is {method.classes[0]!r} alone: "
            f"name another class, give thresholds, or do not filter"
        )


def thresholds_for(method: ContinuousNuisance, seed: int) -> dict[str, float]:
    """Thresholds of a method's filter from trajectories of their own, each scored as another class.

    See :mod:`snellen.systems.continuous_nuisance.filter_scores`.

    Raises:
        InputError: no filter, or one class alone.
    """
    encoders = filter_of(method)
    if encoders is None:
        raise InputError(f"{method.name} has no filter, which needs --text-image and --second-encoder")
    check_calibration(method)
    plain = ContinuousNuisance(**{**method.model_dump(), "text_image": None, "second_encoder": None})
    # The next is of another class.
    objects = objects_of(plain.classes, max(min(CALIBRATING, MOST_CALIBRATING // len(plain.classes)), 1))
    objects, phrases = objects[:MOST_CALIBRATING], named_phrases(plain.concept)
    made = plain.generate(requests_for(tuple(phrases), objects, seed, "calibration"), rng=Randomness(seed))
    trajectories = to_unit(pixels_of(made, len(plain.strengths))).unflatten(0, (len(phrases), len(objects)))
    return thresholds_of_others(
        encoders,
        dict(zip(phrases.values(), trajectories, strict=True)),
        [one_object.class_name for one_object in objects],
    )
