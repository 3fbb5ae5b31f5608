"""How much a texture jumps where it meets itself, beside how much it changes anywhere else."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError

_CHUNK = 256


def seam_energy_ratio(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean jump across the seams over mean jump between neighbours inside, over both axes: float64 (n,).

    r = (|I[:, 0] − I[:, −1]| + |I[0] − I[−1]|) / (|I[:, j + 1] − I[:, j]| + |I[i + 1] − I[i]|), each term a mean over
    pixels and channels; about 1 for a seamless texture, above 1 with a seam. A constant image
    has no jump at all and counts as 1. The ratio sees seams only: a spot or a motif that repeats conspicuously leaves
    it at 1. Memory: some 20 bytes for each value of 256 images, whatever their number.

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
