"""Small pyramidal TIFFs of any pixels, as scanners would write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def glass(height: int = 256, width: int = 256, seed: int = 0) -> Pixels:
    """Bare glass: bright grey with a little noise."""
    noise = np.random.default_rng(seed).integers(0, 4, (height, width, 3))
    return (235 + noise).astype(np.uint8)


def with_tissue(pixels: Pixels, top: int, left: int, height: int, width: int) -> Pixels:
    """The same with a pink piece of tissue."""
    painted = pixels.copy()
    shape = painted[top : top + height, left : left + width].shape
    noise = np.random.default_rng(1).integers(0, 20, shape)
    painted[top : top + height, left : left + width] = (np.array([200, 120, 170]) + noise).astype(np.uint8)
    return painted


def write_tiff(
    path: Path,
    pixels: Pixels,
    *,
    mpp: float | tuple[float, float] | None = 1.0,
    factors: tuple[int, ...] = (1, 2, 4),
    tile: int = 64,
    compression: str | None = "zlib",
) -> Path:
    """A tiled TIFF whose levels are means of squares of ``factors`` pixels."""
    x, y = mpp if isinstance(mpp, tuple) else (mpp, mpp)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(path) as writer:
        for factor in factors:
            height, width = pixels.shape[0] // factor, pixels.shape[1] // factor
            cut = pixels[: height * factor, : width * factor].reshape(height, factor, width, factor, 3)
            resolution = {} if x is None or y is None else {"resolution": (1e4 / (x * factor), 1e4 / (y * factor))}
            writer.write(
                cut.mean((1, 3)).round().astype(np.uint8),
                tile=(tile, tile),
                photometric="rgb",
                compression=compression,
                subfiletype=0 if factor == factors[0] else 1,
                resolutionunit="CENTIMETER" if resolution else "NONE",
                metadata=None,
                **resolution,
            )
    return path
