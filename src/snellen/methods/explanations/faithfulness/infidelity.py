"""Infidelity: how badly a map foretells what changes of the image do to the score.

Yeh, Hsieh, Suggala, Inouye and Ravikumar, "On the (in)fidelity and sensitivity of explanations", NeurIPS 2019, arXiv
1901.09392, definition 2.1: the expectation of (I · Φ − (f(x) − f(x − I)))² over perturbations I.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.explanations.maps import has_evidence
from snellen.methods.explanations.score import TargetScore


@dataclass(frozen=True, eq=False)
class Infidelity:
    """Float64 (n,) each; NaN where a map says nothing or something was not finite. Small is good.

    Attributes:
        plain: definition 2.1, in squared score units; depends on the scale of the map.
        scaled: the same of β · map with the best β for this image (appendix of the paper), so that maps of any unit
            compare; at most the mean squared change of the score, which a map of zeros has.
        nothing: the mean squared change of the score: what a map of zeros has.
    """

    plain: Tensor
    scaled: Tensor
    nothing: Tensor


def infidelity(
    score: TargetScore, images: Tensor, maps: Tensor, *, rng: Randomness, sigma: float = 0.2, samples: int = 64
) -> Infidelity:
    """Infidelity under Gaussian noise; samples + 1 queries an image.

    x − I is cut to [0, 1] first and I is what is really taken away, because a classifier takes nothing else.

    Args:
        score: of all n images; the paper takes the score before softmax.
        images: (n, 3, h, w) in [0, 1].
        maps: (n, 3, h, w), or (n, h, w), whose value counts for each unit of a pixel's channels, each a third.
        rng: bound to the images, or not bound.
        sigma: standard deviation of the noise, in [0, 1] pixel units.
        samples: perturbations of each image.

    Raises:
        InputError: maps of another shape; no samples; no noise.
    """
    if maps.shape not in (images.shape, (len(images), *images.shape[2:])):
        raise InputError(f"expected maps of the images {tuple(images.shape)}, got {tuple(maps.shape)}")
    if samples < 1 or not 0 < sigma < float("inf"):
        raise InputError(f"noise needs sigma above 0 and at least one sample; got {sigma=}, {samples=}")
    each = maps if maps.ndim == 4 else maps[:, None].expand_as(images) / 3
    bound = rng.bind(len(images))
    foretold = torch.zeros(len(images), samples, dtype=torch.float64)
    changed = foretold.clone()
    with torch.no_grad():
        whole = score.of_images(images)
        for row in range(len(images)):
            noise = bound[[row]].normal("noise", (samples, *images.shape[1:]), like=images)[0]
            noisy = (images[row] - sigma * noise).clamp(0, 1)
            taken = (images[row] - noisy).double().flatten(1)
            foretold[row] = (taken @ each[row].double().flatten()).cpu()
            changed[row] = whole[row] - score.values(noisy, torch.full((samples,), row))
    told = has_evidence(maps).cpu() & changed.isfinite().all(1)
    nothing = changed.square().mean(1)
    fit = (foretold * changed).mean(1)
    scaled = nothing - torch.where(fit == 0, 0.0, fit.square() / foretold.square().mean(1))
    plain = (foretold - changed).square().mean(1)
    return Infidelity(*(torch.where(told, one, torch.nan) for one in (plain, scaled.clamp(min=0), nothing)))
