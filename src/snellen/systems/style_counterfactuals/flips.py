"""Counterfactuals: whether moving attributes away from a decision changes it, beside random coordinates.

Published evaluation: the top m attributes, shift 2, away from the predicted class; the share of images whose argmax
changes. A flip may be an artefact: the critic's score and a second classifier stand beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.systems.style_counterfactuals.attributes import Attribute, moved_styles
from snellen.systems.style_counterfactuals.networks import StyleRenderer

#: Shift of the published flip study.
SHIFT = 2.0


@dataclass(frozen=True, eq=False)
class Counterfactuals:
    """Reconstructions with attributes moved.

    Attributes:
        images: (n, 3, h, w) in [0, 1].
        scores: logits (n, K).
        flipped: bool (n,), whether the decision is another than that for the reconstruction.
    """

    images: Tensor
    scores: Tensor
    flipped: Tensor


def runners_up(scores: Tensor) -> Tensor:
    """The class that each image is nearest to being taken for, beside its own: int64 (n,), of logits (n, K)."""
    return scores.topk(2, 1).indices[:, 1]


def counterfactuals(
    renderer: StyleRenderer,
    scores_of: Callable[[Tensor], Tensor],
    styles: Tensor,
    base: Tensor,
    lists: Mapping[int, Sequence[Attribute]],
    bounds: tuple[Tensor, Tensor],
    *,
    shift: float = SHIFT,
    together: int = 256,
) -> Counterfactuals:
    """Move the attributes of each image's runner-up class, and see what it is taken for.

    Args:
        renderer: the generator, with the same noise as for the reconstructions.
        scores_of: images → logits.
        styles: (n, S), of the reconstructions; not changed.
        base: logits (n, K) of the reconstructions.
        lists: attributes of each class; a class without any leaves its images as they are.
        bounds: of :func:`~snellen.systems.style_counterfactuals.attributes.style_bounds`.
        shift: 1 is the bound; published 2.
        together: images at once.
    """
    targets, moved = runners_up(base), styles.clone()
    for target in targets.unique().tolist():
        rows = targets == target
        moved[rows] = moved_styles(styles[rows], lists.get(target, ()), bounds, shift)
    with torch.no_grad():
        images = torch.cat([renderer.images(part) for part in moved.split(together)])
        scores = torch.cat([scores_of(part) for part in images.split(together)])
    return Counterfactuals(images, scores, scores.argmax(1) != base.argmax(1))


def random_coordinates(bounds: tuple[Tensor, Tensor], total: int, generator: torch.Generator) -> list[int]:
    """All of the first ``total`` coordinates that have a range, in random order."""
    possible = ((bounds[1] - bounds[0])[:total] > 0).nonzero().flatten().cpu()
    return possible[torch.randperm(len(possible), generator=generator)].tolist()


def directed(found: Tensor, decided: Tensor, coordinates: Mapping[int, Sequence[int]]) -> dict[int, list[Attribute]]:
    """Given coordinates of each class, each in the direction that raises it on average over images of other classes.

    The direction is tuned on the same effects as that of the attributes, so that only the choice of the coordinate
    differs.

    Args:
        found: effects (n, 2, S, K).
        decided: int64 (n,), what each reconstruction is taken for.
        coordinates: of StyleSpace, by class.

    Raises:
        ValueError: a coordinate whose effects were not measured.
    """
    lists = dict[int, list[Attribute]]()
    for target, own in coordinates.items():
        rows = (decided != target).cpu()
        means = found[rows if bool(rows.any()) else slice(None)][:, :, list(own), target].mean(0)
        if bool(means.isnan().any()):
            raise ValueError(f"coordinates {list(own)} of class {target} have effects that were not measured")
        lists[target] = [
            Attribute(one, int(mean.argmax()), target, float(mean.max()))
            for one, mean in zip(own, means.unbind(1), strict=True)
        ]
    return lists
