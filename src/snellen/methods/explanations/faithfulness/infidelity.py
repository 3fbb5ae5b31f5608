"""Infidelity, how badly a map predicts what changes do to the score, and sensitivity, how far it moves by itself.

Yeh, Hsieh, Suggala, Inouye and Ravikumar, "On the (in)fidelity and sensitivity of explanations", NeurIPS 2019, arXiv
1901.09392, definition 2.1: the expectation of (I · Φ − (f(x) − f(x − I)))² over perturbations I.

Yeh et al., NeurIPS 2019, arXiv 1901.09392, definition 3.1 (SENS-max): the largest ‖Φ(y) − Φ(x)‖ over ‖y − x‖ ≤ r, here
over random y, divided by ‖Φ(x)‖ as their code does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.explanations.maps import has_evidence, moved
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
    usable = has_evidence(maps).cpu() & changed.isfinite().all(1)
    nothing = changed.square().mean(1)
    fit = (foretold * changed).mean(1)
    scaled = nothing - torch.where(fit == 0, 0.0, fit.square() / foretold.square().mean(1))
    plain = (foretold - changed).square().mean(1)
    return Infidelity(*(torch.where(usable, one, torch.nan) for one in (plain, scaled.clamp(min=0), nothing)))


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
    usable = has_evidence(maps).cpu()
    return torch.where(usable, relative_change(maps, moved(maps, rng)), torch.nan)


def relative_change(first: Tensor, second: Tensor) -> Tensor:
    """‖second − first‖ / ‖first‖ of maps (n, …), l2: float64 (n,) on the CPU."""
    one, other = (maps.double().flatten(1).cpu() for maps in (first, second))
    return (other - one).norm(dim=1) / one.norm(dim=1)
