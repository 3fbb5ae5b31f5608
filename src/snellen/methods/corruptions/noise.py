"""Noise of sensors and transmission: ImageNet-C's four kinds (arXiv 1903.12261, appendix B), which MedMNIST-C shares.

Each kind has one draw for each value of an image, whatever the strength: a stronger setting makes the same noise
stronger. Strengths are numbers, or tensors (n, 1, 1, 1) with one for each image. Images are (n, 3, h, w) in [0, 1], or
their first channel alone (n, 1, h, w), which gets the draws that it has among three.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.core.randomness import Randomness
from snellen.methods.corruptions.poisson import HALF_STEP, PoissonTable, small_counts

#: Values closer than this to a grey level, in 1/255, are that level: a division by 255 in float32 is not exact.
_ROUNDING = 1e-4

#: From here on counts are drawn as normal variables; the quantiles that a draw can reach differ by < 0.2/255.
_MANY_PHOTONS = 10_000

#: Values that are looked up together on a CPU, so that they stay in its cache.
_BLOCK = 2**17

_FAR = 1e30


def gaussian_noise(images: Tensor, rng: Randomness, *, deviation: float | Tensor) -> Tensor:
    """Add normal noise of this standard deviation, in [0, 1] units."""
    draws = rng.normal("gaussian_noise", (3, *images.shape[2:]), like=images)[:, : images.shape[1]]
    return (draws * deviation).add_(images).clamp_(0, 1)


def speckle_noise(images: Tensor, rng: Randomness, *, deviation: float | Tensor) -> Tensor:
    """Add normal noise in proportion to the value; ``deviation`` is that of the proportion."""
    draws = rng.normal("speckle_noise", (3, *images.shape[2:]), like=images)[:, : images.shape[1]]
    return (draws * deviation).mul_(images).add_(images).clamp_(0, 1)


def impulse_noise(images: Tensor, rng: Randomness, *, share: float | Tensor) -> Tensor:
    """Set a share of the values to 0 or 1, half each: scikit-image's salt-and-pepper noise.

    A value that is hit stays hit, in the same way, at every larger share.
    """
    draws = rng.uniform("impulse_noise", (3, *images.shape[2:]), -1.0, 1.0, like=images)[:, : images.shape[1]]
    # Negative where |draw| < share, else 0. The draw's sign, pushed far beyond [0, 1], is then salt or pepper: clamping
    # does what a mask would, several times faster.
    return draws.abs().sub_(share).clamp_(max=0).copysign_(draws).mul_(_FAR).add_(images).clamp_(0, 1)


def shot_noise(images: Tensor, rng: Randomness, *, photons: float | Tensor) -> Tensor:
    """Count photons, Poisson(value · photons) / photons, where white is ``photons`` > 0 of them on average.

    The counts are exact for any value: those of the grey level at or below it, from a table, plus those of the rest of
    the rate, from a second draw. From 10 000 photons on their normal limit is taken.

    >>> white = torch.ones(1, 3, 64, 64)
    >>> counts = shot_noise(white, Randomness(0).bind(1), photons=4.0) * 4
    >>> counts.unique()
    tensor([0., 1., 2., 3., 4.])
    """
    if not len(images):
        return images.clone()
    uniforms = rng.uniform("shot_noise", (3, *images.shape[2:]), like=images)[:, : images.shape[1]]
    if isinstance(photons, Tensor):
        parts = [(slice(row, row + 1), float(white)) for row, white in enumerate(photons.flatten())]
    else:
        size = max(_BLOCK // images[0].numel(), 1) if images.device.type == "cpu" else len(images)
        parts = [(slice(row, row + size), photons) for row in range(0, len(images), size)]
    noisy, tables = torch.empty_like(images), dict[float, PoissonTable]()
    for rows, white in parts:
        part = images[rows]
        if white >= _MANY_PHOTONS:
            noise = torch.special.ndtri(uniforms[rows].double().add_(HALF_STEP)).to(images)
            noisy[rows] = noise.mul_((part / white).sqrt_()).add_(part)
            continue
        if white not in tables:
            tables[white] = PoissonTable.of(white, part.numel(), images.device)
        levels = (part * 255).add_(_ROUNDING).floor_().clamp_(0, 255)
        counts = tables[white].counts(levels, uniforms[rows])
        rest = torch.sub(part, levels, alpha=1 / 255)
        if float(rest.max()) > 2 * _ROUNDING / 255:
            numbers = range(len(images))[rows]
            others = rng[numbers].uniform("shot_noise_between_levels", (3, *images.shape[2:]), like=images)
            others = others[:, : images.shape[1]]
            counts += small_counts(rest.clamp_(min=0).mul_(white), others)
        noisy[rows] = counts.div_(white)
    return noisy.clamp_(0, 1)
