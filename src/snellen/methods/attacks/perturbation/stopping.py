"""When a search is given up before its last step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from snellen.core.in_float64 import widest

#: (values (m,) that the evaluation gave, positions in the attacked batch (m,), iteration from 0) → bool (m,): searches
#: that end here. What was found so far stays found.
Stopping = Callable[[Tensor, Tensor, int], Tensor]


class Stalled:
    """Give up an image whose loss no longer falls: the early abort of Carlini and Wagner (2017), image by image.

    Every ``interval`` iterations the loss is compared with what it was one interval ago; unless it has fallen below
    ``share`` of that, the search of this image ends. The authors' code uses the sum over the batch, so that there one
    image that still improves keeps all others going.

    >>> stalled = Stalled(2, interval=10, direction=1)
    >>> positions = torch.tensor([0, 1])
    >>> stalled(torch.tensor([-4.0, -4.0]), positions, 0).tolist()
    [False, False]
    >>> stalled(torch.tensor([-4.0, -3.0]), positions, 10).tolist()
    [True, False]

    Args:
        count: number n of images in the attacked batch.
        interval: iterations between two comparisons, at least 1.
        direction: of the criterion; the loss is −direction · values.
        share: of the last loss, in (0, 1].
    """

    def __init__(self, count: int, *, interval: int, direction: int, share: float = 0.9999) -> None:
        self.interval, self.direction, self.share = interval, direction, share
        self._losses = torch.full((count,), torch.inf, dtype=torch.float64)

    def __call__(self, values: Tensor, positions: Tensor, iteration: int) -> Tensor:
        """Find the images that have stalled: (m,), (m,) → bool (m,)."""
        if iteration % self.interval:
            return torch.zeros_like(positions, dtype=torch.bool)
        self._losses = self._losses.to(values.device, widest(values.device))
        losses = (-self.direction * values).to(self._losses)
        # A new start has no past.
        before = torch.full_like(losses, torch.inf) if iteration == 0 else self._losses[positions]
        self._losses[positions] = losses
        return losses > before * self.share


class Hopeless:
    """Give up an image that, rising on as fast as of late, would not be broken by the last step. Not from a paper.

    Every ``interval`` = ``share`` · ``steps`` iterations, the best value so far is compared with that of one interval
    ago. The searches that use this rule gain less and less, so that the straight line through both is generous, but it
    proves nothing: a search that would have found something late can be lost.

    >>> hopeless = Hopeless(2, steps=100, share=0.25, direction=1)
    >>> positions = torch.tensor([0, 1])
    >>> hopeless(torch.tensor([-4.0, -4.0]), positions, 0).tolist()
    [False, False]
    >>> hopeless(torch.tensor([-3.5, -2.0]), positions, 25).tolist()
    [True, False]

    Args:
        count: number n of images in the attacked batch.
        steps: iterations of each search.
        share: of the steps between two comparisons, in (0, 1].
        direction: of the criterion; direction · values rise, and an image is broken where they are above 0.
    """

    def __init__(self, count: int, *, steps: int, share: float, direction: int) -> None:
        self.steps, self.direction = steps, direction
        self.interval = max(round(share * steps), 1)
        self._best = torch.full((count,), -torch.inf, dtype=torch.float64)
        self._before = self._best.clone()

    def __call__(self, values: Tensor, positions: Tensor, iteration: int) -> Tensor:
        """Find the images that are given up: (m,), (m,) → bool (m,)."""
        self._best = self._best.to(values.device, widest(values.device))
        self._before = self._before.to(self._best)
        best = (self.direction * values.detach()).to(self._best)
        # A new start has no past.
        if iteration:
            best = torch.maximum(best, self._best[positions])
        self._best[positions] = best
        if iteration % self.interval:
            return torch.zeros_like(positions, dtype=torch.bool)
        before = self._before[positions] if iteration else torch.full_like(best, -torch.inf)
        self._before[positions] = best
        # Where nothing finite was seen yet, this compares with NaN: nothing is given up.
        return (best - before) * (self.steps - iteration) / self.interval < -best
