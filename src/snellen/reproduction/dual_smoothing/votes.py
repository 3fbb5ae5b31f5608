"""Votes of the images of a world, and the figures that follow from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.methods.smoothing.bounds import lower_bound, proven_radius, published_radius
from snellen.methods.smoothing.branches import branches_of
from snellen.methods.smoothing.certifying import Radius, certified_correct
from snellen.methods.smoothing.votes import hard_votes
from snellen.reproduction.sample import Figure, Sample

#: Radii at which certified accuracies are reported, in [0, 1] pixel units of one channel.
RADII = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)

ALPHA, SELECTION = 0.001, 200

#: Images whose votes are drawn together.
_TOGETHER = 20


@dataclass(frozen=True, eq=False)
class Votes:
    """Votes of n images.

    Args:
        selection: int64 (n, b, k), those that choose the class.
        estimation: by number of samples, int64 (n, b, k).
        labels: int64 (n,).
        sigma: of the noise.
    """

    selection: Tensor
    estimation: dict[int, Tensor]
    labels: Tensor
    sigma: float

    def radii(self, samples: int, radius: Radius = proven_radius, alpha: float = ALPHA) -> NDArray[np.float64]:
        """Radius of each image's class, 0 where nothing is proven or the class is wrong: float64 (n,)."""
        votes = self.estimation[samples]
        branches = votes.shape[1]
        chosen = self.selection.sum(1).argmax(1)
        found = []
        for row, label in enumerate(chosen.tolist()):
            counts = votes[row, :, label].tolist()
            found.append(radius([lower_bound(count, samples, alpha / branches) for count in counts], self.sigma))
        right = (chosen == self.labels).numpy()
        return np.where(right, np.maximum(found, 0.0), 0.0)

    @property
    def right(self) -> Sample:
        """Whether the chosen class is the right one, certified or not."""
        return Sample.of((self.selection.sum(1).argmax(1) == self.labels).numpy())


def figures_of(radii: Mapping[str, NDArray[np.float64]]) -> dict[str, Figure]:
    """``WAY.acr``, and ``WAY.at_R`` at :data:`RADII`, of the radii of each way: 0 for a wrong or uncertain class."""
    figures: dict[str, Figure] = {}
    for way, found in radii.items():
        figures[f"{way}.acr"] = Sample.of(found)
        for radius in RADII:
            figures[f"{way}.at_{radius:g}"] = Sample.of(certified_correct(found, found > 0, radius))
    return figures


def radii_of(plain: Votes, dual: Votes, samples: int) -> dict[str, NDArray[np.float64]]:
    """Radii of both ways, of halves at as many forward passes in all, and of the published formula on halves."""
    return {
        "plain": plain.radii(samples),
        "dual": dual.radii(samples),
        "dual_half": dual.radii(samples // 2),
        # The published bounds have the whole level each.
        "published": dual.radii(samples, published_radius, 2 * ALPHA),
    }


def overstated(radii: Mapping[str, NDArray[np.float64]]) -> float | None:
    """Ratio of the published to the proven average radius, less 1; None where nothing is proven."""
    proven = float(radii["dual"].mean())
    return float(radii["published"].mean()) / proven - 1 if proven else None


def votes_of(
    classifier: Classifier,
    images: Tensor,
    labels: Tensor,
    *,
    sigma: float,
    split_pixels: bool,
    samples: Sequence[int],
    rng: Randomness,
    progress: Progress,
    task: str,
    grey: bool = True,
) -> Votes:
    """Draw the votes of images (n, 3, h, w), at growing numbers of samples; ``grey``: one noise for all channels."""
    branches = branches_of(classifier, split_pixels=split_pixels, grey=grey)
    ids = [str(row) for row in range(len(images))]
    progress.begin(task, len(images))
    chosen: list[Tensor] = []
    counted: dict[int, list[Tensor]] = {number: [] for number in samples}
    for start in range(0, len(images), _TOGETHER):
        part = images[start : start + _TOGETHER].to(classifier.device)
        own = rng.for_examples(ids[start : start + _TOGETHER])

        def drawn(first: int, last: int, stream: str, part: Tensor = part, own: Randomness = own) -> Tensor:
            classes = len(classifier.class_names)
            each = [
                hard_votes(
                    branch, part, sigma=sigma, first=first, last=last, class_count=classes, rng=own, stream=stream
                )
                for branch in branches
            ]
            return torch.stack(each, 1)

        chosen.append(drawn(0, SELECTION, "selection"))
        total, before = torch.zeros_like(chosen[-1]), 0
        for number in samples:
            total = total + drawn(before, number, "estimation")
            before = number
            counted[number].append(total)
        progress.advance(task, len(part))
    progress.finish(task)
    return Votes(torch.cat(chosen), {number: torch.cat(parts) for number, parts in counted.items()}, labels, sigma)
