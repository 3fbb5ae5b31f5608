"""Keypoints of an image: extrema of differences of Gaussians over places and scales.

Lowe, "Distinctive image features from scale-invariant keypoints", IJCV 2004, sections 3 and 4: scale space in octaves,
extrema among 26 neighbours, a quadratic fit of place and scale, a test of contrast and one against edges. Orientations
and descriptors are left out, since the search needs neither.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

#: Lowe's constants: blur of the first image of an octave, blur that a camera leaves, extremal scales in an octave.
_SIGMA, _CAMERA, _LAYERS = 1.6, 0.5, 3
#: Points nearer to the border than this, in pixels of their octave, have no neighbourhood to judge.
_BORDER = 5
_REFINEMENTS = 5
#: The smallest side that an octave may have.
_LEAST_SIDE = 2 * _BORDER + 3


def keypoints(grey: Tensor, *, contrast: float = 0.04, edge_ratio: float = 10.0) -> NDArray[np.float64]:
    """Find keypoints of a grey image.

    >>> rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    >>> blob = torch.exp(-((columns - 12) ** 2 + (rows - 20) ** 2) / 18)
    >>> found = keypoints(blob)
    >>> [round(value) for value in found[found[:, 3].argmax(), :2]]
    [12, 20]

    Args:
        grey: (h, w) in [0, 1].
        contrast: least height of an extremum, in [0, 1] units and for one octave (Lowe's 0.03, shared out over the
            scales of an octave).
        edge_ratio: largest ratio of the two curvatures at a point; points on edges have a larger one.

    Returns:
        float64 (f, 4): x and y in pixels (0 is the middle of the first), size (diameter, twice the scale) in pixels,
        and response (height of the extremum), sorted from the strongest on.
    """
    found = []
    blurred = F.interpolate(grey[None, None].float(), scale_factor=2, mode="bilinear", align_corners=False)
    blurred = _blur(blurred, math.sqrt(max(_SIGMA**2 - (2 * _CAMERA) ** 2, 0.01)))
    octave = 0
    while min(blurred.shape[2:]) >= _LEAST_SIDE:
        gaussians = torch.cat(_gaussians(blurred))[:, 0]
        points = _extrema(gaussians[1:] - gaussians[:-1], contrast, edge_ratio)
        # Octave 0 is twice as large as the image: its pixel i covers the middle of the image's (i + 0.5) / 2 - 0.5.
        points[:, :2] = (points[:, :2] * 2**octave + 0.5) / 2 - 0.5
        points[:, 2] = _SIGMA * 2 ** (points[:, 2] / _LAYERS + octave)
        found.append(points)
        # The scale at which the blur has doubled starts the next octave.
        blurred = gaussians[None, -3:-2, ::2, ::2]
        octave += 1
    every = np.concatenate(found) if found else np.zeros((0, 4))
    return every[np.argsort(-every[:, 3], kind="stable")]


def _gaussians(first: Tensor) -> list[Tensor]:
    """The images of one octave, layers + 3, each blurred 2^(1 / layers) times as much as the one before."""
    images, factor = [first], 2 ** (1 / _LAYERS)
    for layer in range(1, _LAYERS + 3):
        before = _SIGMA * factor ** (layer - 1)
        images.append(_blur(images[-1], before * math.sqrt(factor**2 - 1)))
    return images


def _blur(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (1, 1, h, w), with edges mirrored as far as they go."""
    for dimension in (2, 3):
        reach = min(math.ceil(4 * sigma), images.shape[dimension] - 1)
        offsets = torch.arange(-reach, reach + 1, dtype=images.dtype)
        kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
        shape = (1, 1, -1, 1) if dimension == 2 else (1, 1, 1, -1)
        padding = (0, 0, reach, reach) if dimension == 2 else (reach, reach, 0, 0)
        images = F.conv2d(F.pad(images, padding, mode="reflect"), (kernel / kernel.sum()).view(shape))
    return images


def _extrema(scales: Tensor, contrast: float, edge_ratio: float) -> NDArray[np.float64]:
    """Refined extrema of one octave: (f, 4) of x, y, layer, response, in the octave's own pixels."""
    around = scales[None, None]
    highest = F.max_pool3d(around, 3, 1, 1)[0, 0]
    lowest = -F.max_pool3d(-around, 3, 1, 1)[0, 0]
    extreme = ((scales == highest) & (scales > 0)) | ((scales == lowest) & (scales < 0))
    extreme &= scales.abs() > 0.5 * contrast / _LAYERS
    extreme[0] = extreme[-1] = False
    inside = torch.zeros_like(extreme)
    inside[:, _BORDER:-_BORDER, _BORDER:-_BORDER] = True
    places = (extreme & inside).nonzero().numpy()
    values = scales.double().numpy()
    refined = [point for place in places if (point := _refined(values, place, contrast, edge_ratio)) is not None]
    # Neighbouring starts may end in one place.
    return np.unique(np.array(refined).reshape(-1, 4), axis=0)


def _refined(
    values: NDArray[np.float64], place: NDArray[np.int64], contrast: float, edge_ratio: float
) -> tuple[float, float, float, float] | None:
    """Follow the quadratic fit from one extremum; None where it leaves the octave or fails a test (Lowe, section 4)."""
    layer, row, column = (int(value) for value in place)
    depth, height, width = values.shape
    for _ in range(_REFINEMENTS):
        cube = values[layer - 1 : layer + 2, row - 1 : row + 2, column - 1 : column + 2]
        slope, curvature = _derivatives(cube)
        try:
            offset = -np.linalg.solve(curvature, slope)
        except np.linalg.LinAlgError:
            return None
        if np.abs(offset).max() <= 0.5:
            break
        if np.abs(offset).max() > max(values.shape):
            return None
        layer, row, column = (int(p + round(o)) for p, o in zip((layer, row, column), offset, strict=True))
        within = 1 <= layer < depth - 1 and _BORDER <= row < height - _BORDER and _BORDER <= column < width - _BORDER
        if not within:
            return None
    else:
        return None
    response = abs(float(cube[1, 1, 1] + 0.5 * slope @ offset))
    of_place = curvature[1:, 1:]
    trace, determinant = float(np.trace(of_place)), float(np.linalg.det(of_place))
    steep = determinant <= 0 or trace**2 * edge_ratio >= (edge_ratio + 1) ** 2 * determinant
    if response * _LAYERS < contrast or steep:
        return None
    return column + float(offset[2]), row + float(offset[1]), layer + float(offset[0]), response


def _derivatives(cube: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Central differences at the middle of a (3, 3, 3) cube: slope (3,) and curvature (3, 3), by layer, row, column."""
    slope, curvature = np.zeros(3), np.zeros((3, 3))
    for axis in range(3):
        line = cube[tuple(slice(None) if other == axis else 1 for other in range(3))]
        slope[axis] = (line[2] - line[0]) / 2
        curvature[axis, axis] = line[2] + line[0] - 2 * line[1]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        index: list[slice | int] = [1, 1, 1]
        index[one], index[other] = slice(None), slice(None)
        plane = cube[tuple(index)]
        mixed = (plane[2, 2] - plane[2, 0] - plane[0, 2] + plane[0, 0]) / 4
        curvature[one, other] = curvature[other, one] = mixed
    return slope, curvature
