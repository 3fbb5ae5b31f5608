"""What makes a scene harder to see, in continuous strength: 0 is the identity, and more never shows less of itself.

Snowflakes, drops and noise keep their places while the strength grows, so that a series of strengths is one scene in
worsening weather and not several scenes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from snellen.data.worlds.optotypes.factors import NUISANCES, Nuisance
from snellen.data.worlds.optotypes.lattice_noise import cell_values, gaussian_grain, smooth, uniform
from snellen.data.worlds.stable_arithmetic import error_function, exponential, length

#: Largest strength.
STRONGEST = 5.0

#: At full strength: share of the light that fog scatters, standard deviation of noise, and of the blur in half sides.
FOG_DENSITY, NOISE, BLUR = 2.2, 0.22, 0.15

#: Snow: cells of two layers in half sides, and the radius of their flakes in cells.
_FLAKES = ((0.34, 0.20), (0.20, 0.22))

#: Rain: width and length of a cell in half sides, and how much drops lean.
_DROP_WIDTH, _DROP_LENGTH, _LEAN = 0.11, 0.62, 0.28


def worsen(nuisance: Nuisance, images: Tensor, seeds: Tensor, strength: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Put one nuisance on images (m, 3, h, h) in [0, 1], each with its own strength (m,) above 0."""
    share = (strength / STRONGEST)[:, None, None]
    if nuisance == "fog":
        return _fog(images, seeds, share)
    if nuisance == "snow":
        return _snow(images, seeds, share, x, y)
    if nuisance == "rain":
        return _rain(images, seeds, share, x, y)
    if nuisance == "blur":
        return _blur(images, share[:, 0, 0] * (BLUR * images.shape[-1] / 2))
    if nuisance == "noise":
        return _noise(images, seeds, share)
    raise ValueError(f"{nuisance} is drawn with the outlines")


#: Nuisances of finished images, in the order in which they befall them: weather, lens, sensor.
ON_IMAGES: tuple[Nuisance, ...] = tuple(name for name in NUISANCES if name != "stroke")


def _fog(images: Tensor, seeds: Tensor, share: Tensor) -> Tensor:
    density = smooth(seeds, "fog", images.shape[-1], 0.8).mul_(0.7).add_(0.65)
    kept = exponential((density * share).mul_(-FOG_DENSITY))
    return images * kept[:, None] + 0.82 * (1 - kept[:, None])


def _snow(images: Tensor, seeds: Tensor, share: Tensor, x: Tensor, y: Tensor) -> Tensor:
    open_sky = torch.ones_like(images[:, 0])
    drift = uniform(seeds, "snow place", 2)[:, :, None, None]
    for number, (cell, radius) in enumerate(_FLAKES):
        across, down = x / cell + drift[:, 0] * 9, y / cell + drift[:, 1] * 9
        column, row = across.floor(), down.floor()
        wide, high = column.to(torch.int32), row.to(torch.int32)
        falls = cell_values(seeds, f"snow {number}", wide, high) < share * 0.85
        free = 1 - 2 * radius
        off_x = across - column - radius - free * cell_values(seeds, f"snow {number} x", wide, high)
        off_y = down - row - radius - free * cell_values(seeds, f"snow {number} y", wide, high)
        flake = (radius - length(off_x, off_y)).mul_(cell * images.shape[-1] / 2).add_(0.5).clamp_(0, 1)
        open_sky.mul_(1 - flake * falls)
    kept = (open_sky * (1 - 0.25 * share))[:, None]
    return images * kept + 0.96 * (1 - kept)


def _rain(images: Tensor, seeds: Tensor, share: Tensor, x: Tensor, y: Tensor) -> Tensor:
    drift = uniform(seeds, "rain place", 2)[:, :, None, None]
    across = (x + y * _LEAN) / _DROP_WIDTH + drift[:, 0] * 9
    column = across.floor()
    wide = column.to(torch.int32)
    fallen = uniform(seeds, "rain fallen", 1)[:, :, None] + cell_values(
        seeds, "rain fall", wide, torch.zeros_like(wide)
    )
    down = y / _DROP_LENGTH + fallen
    row = down.floor()
    falls = cell_values(seeds, "rain", wide, row.to(torch.int32)) < share * 0.8
    off = (across - column - 0.5).abs_()
    thin = (0.22 - off).mul_(_DROP_WIDTH * images.shape[-1] / 2).add_(0.5).clamp_(0, 1)
    long = (1 - ((down - row) * 2 - 1).square_()).clamp_(min=0)
    drop = thin.mul_(long).mul_(falls).mul_(0.8)
    kept = (drop.neg_().add_(1) * (1 - 0.30 * share))[:, None]
    return images * kept + 0.70 * (1 - kept)


def _noise(images: Tensor, seeds: Tensor, share: Tensor) -> Tensor:
    size = images.shape[-1]
    drawn = [gaussian_grain(seeds, f"noise {channel}", size, size) for channel in range(3)]
    return (images + torch.stack(drawn, 1).mul_((share * NOISE)[:, None])).clamp_(0, 1)


def _blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur with a deviation in pixels for each image (m,), edges repeated; sums are taken in a fixed order."""
    reach = max(1, math.ceil(3 * float(sigma.max())))
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float32)
    # Integrals over pixels and not values at their centres, so that a small deviation fades to the identity.
    # Beyond three deviations of its own, an image takes nothing: what it gets must not depend on its neighbours' reach.
    own = (3 * sigma).ceil().clamp_(min=1)
    scale = sigma * math.sqrt(2)
    weights = error_function((offsets + 0.5) / scale[:, None]) - error_function((offsets - 0.5) / scale[:, None])
    weights = weights * (offsets.abs() <= own[:, None]) / (2 * error_function((own + 0.5) / scale))[:, None]
    for axis in (2, 3):
        images = _blurred_along(images, weights, axis, reach)
    return images


def _blurred_along(images: Tensor, weights: Tensor, axis: int, reach: int) -> Tensor:
    size = images.shape[axis]
    padded = images.index_select(axis, torch.arange(-reach, size + reach).clamp_(0, size - 1))
    total = torch.zeros_like(images)
    for number in range(2 * reach + 1):
        total.add_(padded.narrow(axis, number, size) * weights[:, number, None, None, None])
    return total
