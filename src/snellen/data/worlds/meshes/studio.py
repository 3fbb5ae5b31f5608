"""Where camera and light stand before a mesh, the same for every renderer; averages of pictures drawn too large."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.errors import InputError
from snellen.data.worlds.viewpoints import camera_to_world

#: Shares of a surface's colour that it shows in shadow, and more of it where it faces the light.
AMBIENT, DIFFUSE = 0.5, 0.6

#: Where the light comes from, in camera coordinates: from over the left shoulder.
LIGHT = (-0.45, 0.65, 1.0)

#: Most pixels along an edge that a renderer draws.
MOST_PIXELS = 4096


@dataclass(frozen=True, eq=False)
class CameraStand:
    """A camera in the world, float64 (3,) each; ``matrix`` (4, 4) takes camera coordinates to the world."""

    matrix: NDArray[np.float64]
    position: NDArray[np.float64]
    backwards: NDArray[np.float64]
    upwards: NDArray[np.float64]
    light: NDArray[np.float64]
    near: float
    far: float


def camera_of(viewpoint: Tensor) -> CameraStand:
    """Camera of one viewpoint (1, 6). Near and far planes enclose the sphere of radius 1 about the origin.

    >>> camera_of(torch.tensor([[0.0, 0.0, 0.0, 4.0, 0.0, 0.0]])).position.round(6).tolist()
    [0.0, -4.0, 0.0]

    Raises:
        InputError: a number that is not finite, or a camera within the sphere of the object.
    """
    if not bool(torch.isfinite(viewpoint).all()):
        raise InputError(f"a viewpoint must be six finite numbers, got {viewpoint.tolist()}")
    matrix = camera_to_world(viewpoint.double())[0].numpy()
    position = matrix[:3, 3]
    ahead = float(viewpoint[0, 3])
    if ahead <= 1.05:
        raise InputError(f"a camera must stand outside the object, at a distance above 1.05; got {ahead:g}")
    light = matrix[:3, :3] @ np.array(LIGHT)
    near, far = ahead - 1.04, ahead + 1.04
    return CameraStand(matrix, position, matrix[:3, 2], matrix[:3, 1], light / np.linalg.norm(light), near, far)


def checked_frame(size: int, supersampling: int) -> None:
    """Raise InputError for a size or a supersampling that cannot be drawn."""
    if size < 1 or supersampling < 1 or size * supersampling > MOST_PIXELS:
        raise InputError(
            f"size and supersampling must be at least 1 and their product at most {MOST_PIXELS}; "
            f"got {size} and {supersampling}"
        )


def averaged(
    pixels: NDArray[np.uint8], covered: NDArray[np.bool_], factor: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Mean over squares of ``factor`` × ``factor`` pixels, with a white background put behind the object.

    >>> pixels, covered = averaged(np.zeros((2, 2, 3), np.uint8), np.array([[True, False]] * 2), 2)
    >>> pixels.tolist(), covered.tolist()
    ([[[128, 128, 128]]], [[128]])

    Args:
        pixels: uint8 (h · factor, w · factor, 3).
        covered: bool (h · factor, w · factor), where the object is.
        factor: edge of the squares.

    Returns:
        Pixels uint8 (h, w, 3) and coverage uint8 (h, w), 255 where the object covers the whole pixel.
    """
    height, width = covered.shape[0] // factor, covered.shape[1] // factor
    white = np.where(covered[..., None], pixels, np.uint8(255)).reshape(height, factor, width, factor, 3)
    share = covered.reshape(height, factor, width, factor)
    area = factor * factor
    # Integers throughout, halves rounded up: the same on every machine.
    mean = (white.sum(axis=(1, 3), dtype=np.int64) + area // 2) // area
    return mean.astype(np.uint8), ((share.sum(axis=(1, 3), dtype=np.int64) * 255 + area // 2) // area).astype(np.uint8)


def as_tensors(views: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]], size: int) -> tuple[Tensor, Tensor]:
    """Images float32 (n, 3, h, w) and coverage float32 (n, h, w), both in [0, 1], of views in bytes."""
    if not views:
        return torch.zeros(0, 3, size, size), torch.zeros(0, size, size)
    pixels = torch.from_numpy(np.stack([pixels for pixels, _ in views]))
    covered = torch.from_numpy(np.stack([covered for _, covered in views]))
    return pixels.permute(0, 3, 1, 2).contiguous().float() / 255, covered.float() / 255
