"""Renderings of an epoch, made together: a call of a renderer is dear, and a second view of an object is cheap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.preparation import Preparation, to_image, to_unit
from snellen.core.randomness import Randomness
from snellen.core.view_renderer import ViewRenderer
from snellen.data.worlds.view_set import rendered_before
from snellen.systems.viewpoints.pool import LabelledObjects
from snellen.training.batches import Examples

#: An object and a viewpoint of it for each of the m examples of a randomness: int64 (m,), float64 (m, 6).
Draw = Callable[[Randomness], tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class AddedViews:
    """Renderings for the steps of one epoch.

    Attributes:
        images: as the classifier takes them, uint8 (s, m, 3, h, w): m for each of s steps.
        labels: of their objects, int64 (s, m).
        seen: bool (s, m); the others do not show their object, and are left out.
    """

    images: Tensor
    labels: Tensor
    seen: Tensor

    def of_step(self, step: int) -> tuple[Tensor, Tensor]:
        """Images uint8 (n, 3, h, w) and labels (n,) of one step, n at most m."""
        seen = self.seen[step]
        return self.images[step][seen], self.labels[step][seen]


def render_added_views(
    renderer: ViewRenderer,
    objects: LabelledObjects,
    draw: Draw,
    *,
    steps: int,
    each: int,
    preparation: Preparation,
    least_coverage: float,
    behind: Examples | None,
    rng: Randomness,
) -> AddedViews:
    """Draw and render what an epoch adds.

    Args:
        renderer: looks at the objects.
        objects: of the training.
        draw: where cameras stand.
        steps: batches of the epoch.
        each: renderings for each of them.
        preparation: of the classifier.
        least_coverage: share of the picture that an object must cover.
        behind: put one of these images, at random, behind each object; None keeps the renderer's white.
        rng: of the epoch.
    """
    rng = rng.for_examples([f"view {number}" for number in range(steps * each)])
    numbers, viewpoints = draw(rng)
    places = rng.integers("behind", (), 0, len(behind.ids)) if behind is not None else None
    images: list[Tensor] = [torch.empty(0)] * len(numbers)
    seen = torch.zeros(len(numbers), dtype=torch.bool)
    for number in numbers.unique().tolist():
        rows = (numbers == number).nonzero().flatten()
        pictures = None if behind is None or places is None else to_unit(behind.read(places[rows])[0])
        with torch.no_grad():
            rendered, coverage = rendered_before(renderer, objects.ids[number], viewpoints[rows], pictures)
        seen[rows] = (coverage.flatten(1).mean(1) >= least_coverage).cpu()
        for row, picture in zip(rows.tolist(), rendered, strict=True):
            images[row] = preparation.pixels(to_image(picture))
    labels = torch.tensor(objects.labels)[numbers]
    pixels = torch.stack(images)
    return AddedViews(pixels.unflatten(0, (steps, each)), labels.view(steps, each), seen.view(steps, each))
