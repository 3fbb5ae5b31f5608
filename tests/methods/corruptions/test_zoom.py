"""Zoom blur against SciPy's zoom and the published loop."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.ndimage import zoom

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.corruptions.blur import central_zoom, zoom_blur, zoom_matrix

GOLDEN = Path(__file__).parent / "golden" / "blurs.safetensors"
SIZES = [(1, 1), (1, 9), (2, 3), (30, 11), (31, 24), (40, 40)]


def by_scipy(plane, factor):
    """The published central zoom, each axis with its own crop."""
    height, width = plane.shape
    rows, columns = math.ceil(height / factor), math.ceil(width / factor)
    top, left = (height - rows) // 2, (width - columns) // 2
    zoomed = zoom(plane[top : top + rows, left : left + columns], factor, order=1)
    above, before = (zoomed.shape[0] - height) // 2, (zoomed.shape[1] - width) // 2
    return zoomed[above : above + height, before : before + width]


def planes_of(height, width):
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(width))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("factor", [1.0, 1.01, 1.13, 1.3, 2.0, 2.5, 4.5])
def test_central_zoom_is_scipys(size, factor):
    planes = planes_of(*size)
    zoomed = central_zoom(planes, factor)
    expected = by_scipy(planes[1, 2].double().numpy(), factor)
    assert zoomed.shape == planes.shape
    assert np.abs(zoomed[1, 2].numpy() - expected).max() < 1e-5
    vertical, horizontal = (zoom_matrix(side, factor) for side in size)
    assert np.abs((vertical @ planes[1, 2].double() @ horizontal.T).numpy() - expected).max() < 1e-12


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("end", "step"), [(1.11, 0.01), (1.31, 0.03), (1.37, 0.017)])
def test_blur_is_the_published_mean(size, end, step):
    images = planes_of(*size)
    blurred = zoom_blur(images, Randomness(0).bind(2), end=end, step=step)
    factors = np.arange(1, end, step)
    plane = images[0, 1].double().numpy()
    expected = (plane + sum(by_scipy(plane, factor) for factor in factors)) / (len(factors) + 1)
    assert np.abs(blurred[0, 1].numpy() - expected).max() < 1e-5


@pytest.mark.parametrize(
    ("severity", "end", "step"), [(1, 1.11, 0.01), (2, 1.16, 0.01), (4, 1.26, 0.02), (5, 1.31, 0.03)]
)
def test_equal_to_the_peer(severity, end, step):
    golden = load_file(GOLDEN)
    blurred = zoom_blur(golden["image"][None].float() / 255, Randomness(0).bind(1), end=end, step=step)[0]
    assert float((blurred * 255 - golden[f"zoom_blur_{severity}"].float() / 256).abs().max()) < 0.01


@pytest.mark.parametrize("end", [1.0, 1.004, 0.9])
def test_without_a_zoom_it_is_the_identity(end):
    images = planes_of(31, 24)
    assert torch.allclose(zoom_blur(images, Randomness(0).bind(2), end=end, step=0.01), images, atol=1e-7)


def test_what_is_no_enlargement_is_refused():
    with pytest.raises(InputError, match=r"at least 1, got 0.5"):
        central_zoom(torch.rand(1, 3, 8, 8), 0.5)
    with pytest.raises(InputError, match="must be positive, got 0"):
        zoom_blur(torch.rand(1, 3, 8, 8), Randomness(0).bind(1), end=1.1, step=0)
