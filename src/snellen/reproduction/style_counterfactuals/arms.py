"""Arms of a finished study: other attributes, more of them, or another shift, beside as many random coordinates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from snellen.core.randomness import Randomness
from snellen.reproduction.sample import Sample
from snellen.systems.style_counterfactuals.attributes import Attribute, attributes_of_classes
from snellen.systems.style_counterfactuals.flips import Counterfactuals, counterfactuals, directed, random_coordinates
from snellen.systems.style_counterfactuals.seen import Seen
from snellen.systems.style_counterfactuals.study import Search, Study


def moved_by(found: Study, seen: Seen, lists: Mapping[int, Sequence[Attribute]], shift: float) -> Counterfactuals:
    """The measured images with other attributes of each class moved, or by another shift."""
    measured = found.measured_on
    return counterfactuals(
        found.renderer, seen.scores, measured.styles, measured.base, lists, found.bounds, shift=shift
    )


def moved_of_count(
    found: Study, seen: Seen, rng: Randomness, search: Search, count: int, shift: float
) -> tuple[Counterfactuals, list[Counterfactuals]]:
    """The measured images moved by so many attributes of each class, and by each of the study's draws of as many.

    Args:
        found: a study that tried every coordinate.
        seen: its classifier.
        rng: that of the study, whose draws are continued.
        search: its numbers; its θ holds here too.
        count: attributes of each class at most.
        shift: 1 is the bound.
    """
    decided = found.chosen_on.base.argmax(1)
    lists = attributes_of_classes(found.effects, decided, count, explained=search.explained)
    drawn = list[Counterfactuals]()
    for draw in range(len(found.drawn)):
        order = random_coordinates(found.bounds, found.renderer.coordinates, rng.generator(f"random {draw}"))
        own = directed(found.effects, decided, {target: order[: len(one)] for target, one in lists.items()})
        drawn.append(moved_by(found, seen, own, shift))
    return moved_by(found, seen, lists, shift), drawn


def mean_flips(moved: Sequence[Counterfactuals]) -> Sample:
    """Of each image, the share of the draws that flip it."""
    return Sample.of(torch.stack([one.flipped.float() for one in moved]).mean(0).numpy())
