"""Ways in which a texture stops repeating, and how much it then jumps where it meets itself."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.errors import InputError
from snellen.data.worlds.textures.patterns import lattice_values, stream_state

Failure = Literal["crop", "rotation", "shear", "perspective", "ramp", "blob"]
FAILURES: tuple[Failure, ...] = get_args(Failure)

#: Failures that bend the picture; the others change its brightness.
GEOMETRIC: tuple[Failure, ...] = ("crop", "rotation", "shear", "perspective")

_CANDIDATES = 12
_ALONG = (0.0, 0.25, 0.5, 0.75, 1.0)


def twists(seeds: Tensor, frequency: Tensor, failure: Failure) -> Tensor:
    """Projective maps of the unit square that break a pattern, float32 (n, 3, 3): the best of twelve drawn.

    Chance alone would sometimes leave a pattern whole: stripes of five periods, cropped to four, repeat.

    Args:
        seeds: int64 (n,).
        frequency: int64 (n, 2, 2), see :mod:`snellen.data.worlds.textures.patterns`.
        failure: one of :data:`GEOMETRIC`; crop to a part of a period less, rotation by 5 to 20 degrees, shear by 0.1 to
            0.3 and perspective of 0.15 to 0.4 on each axis.
    """
    numbers = torch.arange(_CANDIDATES)[None] * 4
    state = stream_state(seeds, f"twist {failure}")[:, None]
    amount, sign, other, other_sign = (lattice_values(state, numbers + place) for place in range(4))
    sign, other_sign = torch.where(sign < 0.5, -1.0, 1.0), torch.where(other_sign < 0.5, -1.0, 1.0)
    maps = torch.eye(3).repeat(len(seeds), _CANDIDATES, 1, 1)
    if failure == "crop":
        periods = frequency.abs().amax((1, 2))[:, None]
        maps[:, :, 0, 0] = maps[:, :, 1, 1] = 1 - (0.35 + 0.3 * amount) / periods
    elif failure == "rotation":
        half = sign * (0.045 + 0.13 * amount)  # tangent of half the angle
        cosine, sine = (1 - half * half) / (1 + half * half), 2 * half / (1 + half * half)
        maps[:, :, 0, 0] = maps[:, :, 1, 1] = cosine
        maps[:, :, 0, 1], maps[:, :, 1, 0] = -sine, sine
    elif failure == "shear":
        # Along both axes: one alone would leave stripes along it whole.
        maps[:, :, 0, 1], maps[:, :, 1, 0] = sign * (0.1 + 0.2 * amount), other_sign * (0.1 + 0.2 * other)
    else:
        maps[:, :, 2, 0], maps[:, :, 2, 1] = sign * (0.15 + 0.25 * amount), other_sign * (0.15 + 0.25 * other)
    middle = torch.eye(3)
    middle[0, 2] = middle[1, 2] = -0.5
    back = torch.eye(3)
    back[0, 2] = back[1, 2] = 0.5
    centred = _product(_product(back.expand_as(maps), maps), middle.expand_as(maps))
    best = _disagreement(centred, frequency).argmax(1)
    return centred[torch.arange(len(seeds)), best].contiguous()


def moved(maps: Tensor, across: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
    """Places (n, h, w) under projective maps (n, 3, 3)."""
    rows = [
        maps[:, row, 0, None, None] * across + maps[:, row, 1, None, None] * down + maps[:, row, 2, None, None]
        for row in range(3)
    ]
    return rows[0] / rows[2], rows[1] / rows[2]


def _disagreement(maps: Tensor, frequency: Tensor) -> Tensor:
    """How far a pattern is from meeting itself at the seams, (n, candidates), between 0 and 0.5 periods.

    Of the two seams the worse one, of the two coordinates of the pattern the better one: stripes know one coordinate.
    """
    count = maps.shape[1]
    flat = maps.reshape(-1, 3, 3)
    along = torch.tensor(_ALONG).expand(len(flat), 1, -1)
    start, end = torch.zeros_like(along), torch.ones_like(along)
    sides = (moved(flat, start, along), moved(flat, end, along)), (moved(flat, along, start), moved(flat, along, end))
    jumps = torch.stack([torch.cat([far[0] - near[0], far[1] - near[1]], 1) for near, far in sides], 1)
    matrix = frequency.repeat_interleave(count, 0).to(torch.float32)[:, None, :, :, None]
    phases = matrix[:, :, :, 0] * jumps[:, :, None, 0] + matrix[:, :, :, 1] * jumps[:, :, None, 1]
    apart = (phases - phases.round()).abs().mean(3)
    return apart.amax(1).amin(1).reshape(-1, count)


def _product(first: Tensor, second: Tensor) -> Tensor:
    """Product of 3 × 3 matrices, summed in one order everywhere."""
    return sum(
        (first[..., :, k, None] * second[..., None, k, :] for k in range(1, 3)),
        start=first[..., :, 0, None] * second[..., None, 0, :],
    )


_CHUNK = 256


def seam_energy_ratio(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean jump across the seams over mean jump between neighbours inside, over both axes: float64 (n,).

    r = (|I[:, 0] − I[:, −1]| + |I[0] − I[−1]|) / (|I[:, j + 1] − I[:, j]| + |I[i + 1] − I[i]|), each term a mean over
    pixels and channels; about 1 for a seamless texture, above 1 with a seam. A constant image
    has no jump at all and counts as 1. The ratio sees seams only: a spot or a motif that repeats conspicuously leaves
    it at 1. Memory: some 20 bytes for each value of 256 images, for any number of images.

    Source: the independent check of Rodriguez-Pardo et al., "TexTile" (2024), taken over both axes.

    >>> ramp = np.arange(8, dtype=np.uint8).repeat(8).reshape(1, 8, 8)
    >>> seam_energy_ratio(ramp).tolist()
    [7.0]

    Args:
        images: uint8 (n, h, w) or (n, h, w, c), at least 2 pixels high and wide.

    Raises:
        InputError: another type or shape.
    """
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or min(images.shape[1:3], default=0) < 2:
        raise InputError(
            f"images: got {images.dtype} {images.shape}; expected uint8 (n, h, w) or (n, h, w, c), "
            "at least 2 × 2 pixels"
        )
    parts = [_ratios(images[start : start + _CHUNK]) for start in range(0, len(images), _CHUNK)]
    return np.concatenate(parts) if parts else np.zeros(0)


def _ratios(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    values = images.astype(np.int16)
    seam, inside = np.zeros(len(values)), np.zeros(len(values))
    for axis in (1, 2):
        rest = tuple(other for other in range(1, values.ndim))
        ends = np.abs(np.take(values, [0], axis) - np.take(values, [-1], axis))
        seam += ends.mean(axis=rest, dtype=np.float64)
        inside += np.abs(np.diff(values, axis=axis)).mean(axis=rest, dtype=np.float64)
    return np.divide(seam, inside, out=np.ones_like(seam), where=inside > 0)
