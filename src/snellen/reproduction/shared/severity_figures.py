"""How many pixels attacks change, as figures by name, and which of two changes fewer."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from snellen.core.outcomes import Attacked
from snellen.core.randomness import Randomness

_RESAMPLES = 2000


def changed_pixels(attacked: Attacked, images: Tensor) -> Tensor:
    """Pixels that differ in any channel: float64 (n,); all h·w where the image withstood."""
    changed = (attacked.images != images).any(1).flatten(1)
    return torch.where(attacked.success, changed.sum(1), changed.shape[1]).double()


def search_figures(attacked: Attacked, changed: Tensor) -> dict[str, float]:
    """Success, median and mean number of changed pixels, queries an image, and mean batch where it is told."""
    figures = {
        "success": float(attacked.success.double().mean()),
        "median_l0": float(changed.quantile(0.5)),
        "mean_l0": float(changed.mean()),
        "queries": float(attacked.queries.double().mean()),
    }
    sizes = getattr(attacked, "batch_sizes", ())
    return {**figures, "mean_batch": sum(sizes) / len(sizes)} if sizes else figures


def pair_figures(ours: Tensor, theirs: Tensor, name: str, rng: Randomness) -> dict[str, float]:
    """Geometric mean of ours / theirs over images, and the ends of its 95 % bootstrap interval.

    >>> four, eight = torch.full((5,), 4.0), torch.full((5,), 8.0)
    >>> {key: round(value, 6) for key, value in pair_figures(four, eight, "ratio", Randomness(0)).items()}
    {'ratio': 0.5, 'ratio.low': 0.5, 'ratio.high': 0.5}

    Args:
        ours: changed pixels (n,), at least 1 each.
        theirs: of the same images.
        name: of the figure.
        rng: of the resamples.
    """
    logarithms = (ours / theirs).log().numpy()
    generator = np.random.default_rng(rng.generator(f"bootstrap {name}").initial_seed() % 2**63)
    drawn = generator.integers(0, len(logarithms), (_RESAMPLES, len(logarithms)))
    low, high = np.quantile(logarithms[drawn].mean(1), (0.025, 0.975))
    return {
        name: float(np.exp(logarithms.mean())),
        f"{name}.low": float(np.exp(low)),
        f"{name}.high": float(np.exp(high)),
    }


def share_on(attacked: Attacked, images: Tensor, mask: Tensor) -> float:
    """Share of all changed pixels that lie on a mask, bool (n, h, w); 0 where nothing was changed."""
    changed = (attacked.images != images).any(1)
    total = int(changed.sum())
    return float((changed & mask).sum() / total) if total else 0.0
