"""Two views of an instance that is only a vector: noise, and entries that are hidden.

Crops, colours and flips need the image; the paper makes its views of images. Where vectors were made once and kept, a
view is the standardised vector with noise added and some entries set to their mean. This is our choice.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from snellen.core.randomness import Randomness

#: (inputs of instances, randomness of the step, name of the view) → one view of each.
Views = Callable[[Tensor, Randomness, str], Tensor]


def feature_views(*, noise: float, hidden: float) -> Views:
    """Make views of standardised vectors (n, d).

    Args:
        noise: standard deviation of what is added to each entry.
        hidden: share of the entries that are set to 0, their mean.
    """

    def view(vectors: Tensor, rng: Randomness, name: str) -> Tensor:
        generator = rng.generator(f"view {name}")
        added = noise * torch.randn(vectors.shape, generator=generator)
        kept = torch.rand(vectors.shape, generator=generator) >= hidden
        return (vectors + added.to(vectors)) * kept.to(vectors)

    return view
