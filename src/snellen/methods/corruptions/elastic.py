"""Elastic transform of ImageNet-C (arXiv 1903.12261, appendix B): a random affine map, then a smooth displacement."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.core.randomness import Randomness
from snellen.methods.corruptions.filters import gaussian_filter, reflect


def elastic_transform(images: Tensor, rng: Randomness, *, amplitude: float, deviation: float, affine: float) -> Tensor:
    """Distort geometry: (n, 3, h, w) in [0, 1] → the same shape.

    The published code takes (height, width) for (x, y) when it places the triangle; here the triangle is in the middle
    of images that are not square, too. OpenCV before version 5 rounds the positions of the affine map to 1/32 pixel,
    which moves 0.04 % of a photograph's values by more than 2/255; that is not repeated.

    Args:
        images: batch.
        rng: bound to the batch.
        amplitude: displacement is this many pixels where the smoothed noise, uniform in [-1, 1) before, is 1.
        deviation: of the Gaussian that smooths the noise, pixels; 0 smooths nothing.
        affine: the corners of a triangle move by up to this many pixels along each axis, and the image with them.
    """
    if not len(images):
        return images.clone()
    height, width = images.shape[2:]
    if affine:
        moves = rng.uniform("elastic_corners", (3, 2), -1.0, 1.0).double() * affine
        columns, rows = (part.to(images) for part in _affine_sources(moves, height, width))
        images = _sample(images, columns + rows, centre_mirror=True)
    if amplitude:
        noise = rng.uniform("elastic_displacement", (2, height, width), -1.0, 1.0, like=images)
        positions = gaussian_filter(noise, deviation, truncate=3.0, border=reflect).mul_(amplitude)
        positions[:, 0] += torch.arange(width, device=images.device)
        positions[:, 1] += torch.arange(height, device=images.device)[:, None]
        images = _sample(images, positions, centre_mirror=False)
    return images.clamp(0, 1)


def _affine_sources(moves: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Positions (x, y) that an affine map carries to each pixel, as a part of each column and one of each row.

    Their sum (n, 2, 1, w) + (n, 2, h, 1) is in pixels, float64.

    The map carries the corners of a right-angled triangle in the middle, with legs of 2/3 of the shorter side, to the
    corners moved by ``moves``: float64 (n, 3, 2), x before y, pixels.
    """
    half_leg = max(min(height, width) // 3, 1)
    corner = torch.tensor([width // 2 + half_leg, height // 2 - half_leg], dtype=torch.float64)
    # The second corner differs from the first in y alone, and from the third in x alone: their distances, moved, are
    # the columns of the map. It carries the second to itself, moved.
    along_x = (moves[:, 1] - moves[:, 2]) / (2 * half_leg) + torch.tensor([1.0, 0.0])
    along_y = (moves[:, 0] - moves[:, 1]) / (2 * half_leg) + torch.tensor([0.0, 1.0])
    determinant = along_x[:, 0] * along_y[:, 1] - along_x[:, 1] * along_y[:, 0]
    from_x = torch.stack((along_y[:, 1], -along_x[:, 1]), 1) / determinant[:, None]  # columns of the inverse
    from_y = torch.stack((-along_y[:, 0], along_x[:, 0]), 1) / determinant[:, None]
    x, y = (
        torch.arange(size) - (corner[axis] + moves[:, 1, axis])[:, None] for axis, size in enumerate((width, height))
    )
    columns = from_x[:, :, None] * x[:, None] + corner[:, None]
    rows = from_y[:, :, None] * y[:, None]
    return columns[:, :, None, :], rows[:, :, :, None]


def _sample(images: Tensor, positions: Tensor, *, centre_mirror: bool) -> Tensor:
    """Interpolate bilinearly at x and y in pixels, (n, 2, h, w), which are overwritten; the surroundings are mirrored.

    ``centre_mirror``: the mirror stands at the centre of the last pixel (OpenCV's ``BORDER_REFLECT_101``), not at its
    outer edge (SciPy's ``reflect``).
    """
    height, width = images.shape[2:]
    sizes = torch.tensor([width, height], dtype=images.dtype, device=images.device).view(2, 1, 1)
    if centre_mirror:
        positions.mul_(2 / (sizes - 1).clamp_(min=1)).sub_(1)
    else:
        positions.add_(0.5).mul_(2 / sizes).sub_(1)
    return F.grid_sample(images, positions.permute(0, 2, 3, 1), padding_mode="reflection", align_corners=centre_mirror)
