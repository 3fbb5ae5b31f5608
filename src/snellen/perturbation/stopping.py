"""When a search is given up before its last step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: (values (m,) that the evaluation gave, positions in the attacked batch (m,), iteration from 0) → bool (m,): searches
#: that end here. What was found so far stays found.
Stopping = Callable[[Tensor, Tensor, int], Tensor]


class Stalled:
    """Give up an image whose loss no longer falls: the early abort of Carlini and Wagner (2017), image by image.

    Every ``interval`` iterations the loss is compared with what it was one interval ago; unless it has fallen below
    ``share`` of that, the search of this image ends. The authors' code looks at the sum over the batch, so that there
    one image that still improves keeps all others going.

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
        """Tell which images have stalled: (m,), (m,) → bool (m,)."""
        if iteration % self.interval:
            return torch.zeros_like(positions, dtype=torch.bool)
        self._losses = self._losses.to(values.device)
        losses = (-self.direction * values).double()
        # A new start has no past.
        before = torch.full_like(losses, torch.inf) if iteration == 0 else self._losses[positions]
        self._losses[positions] = losses
        return losses > before * self.share
