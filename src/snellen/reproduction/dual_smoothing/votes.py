"""Votes of the images of a world, and the figures that follow from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.methods.smoothing.bounds import lower_bound, proven_radius
from snellen.methods.smoothing.branches import branches_of
from snellen.methods.smoothing.certifying import Radius, average_radius, certified_curve
from snellen.methods.smoothing.votes import hard_votes

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

    def radii(self, samples: int, radius: Radius = proven_radius, alpha: float = ALPHA) -> np.ndarray:
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

    def figures(self, samples: int, radius: Radius = proven_radius, alpha: float = ALPHA) -> dict[str, float]:
        """``acr``, ``at_R`` for each radius, and ``accuracy`` of the class that was chosen, certified or not."""
        radii = self.radii(samples, radius, alpha)
        held = radii > 0
        curve = certified_curve(radii, held, RADII)
        chosen = self.selection.sum(1).argmax(1)
        return {
            "acr": average_radius(radii, held),
            "accuracy": float((chosen == self.labels).double().mean()),
            **{f"at_{radius:g}": share for radius, share in zip(RADII, curve, strict=True)},
        }


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
