"""The control of another classifier: its attributes in the same generator, moved to change this classifier.

Attributes that belong to a classifier move it more than those of one that decides by something else (StylEx, Lang et
al., ICCV 2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from snellen.systems.style_counterfactuals.attributes import attributes_of_classes, effects, promising
from snellen.systems.style_counterfactuals.flips import Counterfactuals, counterfactuals, directed
from snellen.systems.style_counterfactuals.seen import Seen
from snellen.systems.style_counterfactuals.study import Search, Study


def moved_by_foreign(
    found: Study, seen: Seen, other: Callable[[Tensor], Tensor], search: Search, *, gradients: bool = True
) -> Counterfactuals | None:
    """The measured images with another classifier's coordinates moved, in the directions that move this classifier.

    They are as many as the attributes of each class: those that cover the other classifier's images, the largest mean
    effect first, and then its next by mean effect. None where it has fewer.

    Args:
        found: the study of this classifier.
        seen: this classifier.
        other: images (n, 3, side, side) in [0, 1] → logits (n, K) of the other one; K may be another number.
        search: numbers of the study.
        gradients: whether ``other`` has some; without, all coordinates are tried at any share.
    """
    chosen, renderer, bounds = found.chosen_on, found.renderer, found.bounds
    tried = torch.arange(renderer.coordinates)
    if gradients and search.share < 1:
        tried = promising(renderer, other, chosen.styles, bounds, search.share, search.together)
    moved = effects(renderer, other, chosen.styles, bounds, coordinates=tried, together=search.together)
    with torch.no_grad():
        decided = torch.cat([other(part).argmax(1) for part in chosen.remade.split(search.together)]).cpu()
    most, coordinates = max(map(len, found.lists.values())), dict[int, None]()
    for explained in (search.explained, math.inf):
        lists = attributes_of_classes(moved, decided, most, explained=explained)
        ranked = sorted((one for own in lists.values() for one in own), key=lambda one: -one.effect)
        coordinates |= dict.fromkeys(one.coordinate for one in ranked)
    if len(coordinates) < most:
        return None
    order = list(coordinates)[:most]
    here = effects(
        renderer, seen.scores, chosen.styles, bounds, coordinates=torch.tensor(order), together=search.together
    )
    own = directed(here, chosen.base.argmax(1).cpu(), {key: order[: len(one)] for key, one in found.lists.items()})
    measured = found.measured_on
    return counterfactuals(
        renderer, seen.scores, measured.styles, measured.base, own, bounds, shift=search.shift, together=search.together
    )
