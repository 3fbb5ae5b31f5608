"""How many pixels attacks change, as figures by name, and which of two changes fewer."""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.core.outcomes import Attacked
from snellen.reproduction.sample import Figure, Sample


def changed_pixels(attacked: Attacked, images: Tensor) -> Tensor:
    """Pixels that differ in any channel: float64 (n,); all h·w where the image withstood."""
    changed = (attacked.images != images).any(1).flatten(1)
    return torch.where(attacked.success, changed.sum(1), changed.shape[1]).double()


def search_figures(attacked: Attacked, changed: Tensor) -> dict[str, Figure]:
    """Success, median and mean number of changed pixels, queries an image, and mean batch where it is known."""
    figures: dict[str, Figure] = {
        "success": Sample.of(attacked.success.numpy()),
        "median_l0": float(changed.quantile(0.5)),
        "mean_l0": float(changed.mean()),
        "queries": float(attacked.queries.double().mean()),
    }
    sizes = getattr(attacked, "batch_sizes", ())
    return {**figures, "mean_batch": sum(sizes) / len(sizes)} if sizes else figures


def pair_figures(ours: Tensor, theirs: Tensor, name: str) -> dict[str, Figure]:
    """Geometric mean of ours / theirs over images, and the binary logarithm of each image's ratio.

    >>> four, eight = torch.full((5,), 4.0), torch.full((5,), 8.0)
    >>> found = pair_figures(four, eight, "ratio")
    >>> found["ratio"], found["ratio.log2"].mean
    (0.5, -1.0)

    Args:
        ours: changed pixels (n,), at least 1 each.
        theirs: of the same images.
        name: of the figure.
    """
    logarithms = (ours / theirs).log2()
    return {name: float(2 ** logarithms.mean()), f"{name}.log2": Sample.of(logarithms.numpy())}


def shares_on(attacked: Attacked, images: Tensor, mask: Tensor) -> Tensor:
    """Share of an image's changed pixels that lie on a mask, bool (n, h, w): float64 (n,); NaN where none changed."""
    changed = (attacked.images != images).any(1)
    return (changed & mask).flatten(1).sum(1).double() / changed.flatten(1).sum(1).double()
