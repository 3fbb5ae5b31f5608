"""Sensitivity: how far a map moves when the image hardly does.

Yeh et al., NeurIPS 2019, arXiv 1901.09392, definition 3.1 (SENS-max): the largest ‖Φ(y) − Φ(x)‖ over ‖y − x‖ ≤ r, here
over random y, divided by ‖Φ(x)‖ as their code does.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.explanations.maps import has_evidence, moved

#: Images (n, 3, h, w) → their maps (n, …), of the same targets each time.
ToMaps = Callable[[Tensor], Tensor]


def max_sensitivity(
    attribute: ToMaps, images: Tensor, *, rng: Randomness, radius: float = 0.02, samples: int = 10
) -> Tensor:
    """The largest relative change of each map: float64 (n,), small is steady; NaN where a map says nothing.

    A random search, so a lower bound of the paper's quantity. A map that changes to nothing has changed by all of it.

    Args:
        attribute: attributes images to fixed targets, deterministically.
        images: (n, 3, h, w) in [0, 1].
        rng: bound to the images, or not bound.
        radius: largest change of a pixel, in [0, 1] units; changed images are cut to [0, 1].
        samples: changed copies of each image.

    Raises:
        InputError: no samples, or no radius.
    """
    if samples < 1 or not 0 < radius < float("inf"):
        raise InputError(f"sensitivity needs a radius above 0 and at least one sample; got {radius=}, {samples=}")
    bound = rng.bind(len(images))
    first = attribute(images)
    worst = torch.zeros(len(images), dtype=torch.float64)
    for sample in range(samples):
        noise = bound.child("sample", sample).uniform("noise", images.shape[1:], -radius, radius, like=images)
        # A NaN must stay one: max of torch passes it on.
        worst = torch.maximum(worst, relative_change(first, attribute((images + noise).clamp(0, 1))))
    return torch.where(has_evidence(first).cpu(), worst, torch.nan)


def moved_change(maps: Tensor, rng: Randomness) -> Tensor:
    """Control of :func:`max_sensitivity`: the change of a map that would be somewhere else each time, float64 (n,)."""
    told = has_evidence(maps).cpu()
    return torch.where(told, relative_change(maps, moved(maps, rng)), torch.nan)


def relative_change(first: Tensor, second: Tensor) -> Tensor:
    """‖second − first‖ / ‖first‖ of maps (n, …), l2: float64 (n,) on the CPU."""
    one, other = (maps.double().flatten(1).cpu() for maps in (first, second))
    return (other - one).norm(dim=1) / one.norm(dim=1)
