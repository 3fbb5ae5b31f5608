"""Defocus blur against OpenCV (numbers of the peer) and SciPy."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy import ndimage

from snellen.core.randomness import Randomness
from snellen.methods.corruptions.blur import defocus_blur, disk

GOLDEN = Path(__file__).parent / "golden" / "blurs.safetensors"
RNG = Randomness(0).bind(1)


@pytest.mark.parametrize(("severity", "radius", "alias"), [(1, 3, 0.1), (2, 4, 0.5), (4, 8, 0.5), (5, 10, 0.5)])
def test_equal_to_the_peer(severity, radius, alias):
    golden = load_file(GOLDEN)
    blurred = defocus_blur(golden["image"][None].float() / 255, RNG, radius=radius, alias=alias)[0]
    assert float((blurred * 255 - golden[f"defocus_blur_{severity}"].float() / 256).abs().max()) < 0.01


@pytest.mark.parametrize(("radius", "alias"), [(0.3, 0.4), (1.5, 0.1), (2, 0.01), (5.3, 0.27), (8, 0.5), (9.4, 0.6)])
def test_disk_is_smoothed_as_opencv_does(radius, alias):
    reach, half = (8, 1) if radius <= 8 else (int(np.ceil(radius)), 2)
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    filled = np.hypot(rows, columns) <= radius + 1e-12
    smoothing = np.exp(-(np.arange(-half, half + 1) ** 2) / (2 * alias**2))
    smoothing /= smoothing.sum()
    expected = filled / filled.sum()
    for axis in (0, 1):
        expected = ndimage.correlate1d(expected, smoothing, axis=axis, mode="mirror")
    assert np.abs(disk(radius, alias).numpy() - expected).max() < 1e-12


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (5, 30)])
def test_images_smaller_than_the_disk(size):
    images = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    blurred = defocus_blur(images, RNG, radius=6, alias=0.5)
    expected = ndimage.correlate(images[0].double().numpy(), disk(6, 0.5).numpy()[None], mode="mirror")
    assert np.abs(blurred[0].numpy() - expected).max() < 1e-5


def test_no_radius_and_no_alias_is_the_identity():
    images = torch.rand(1, 3, 12, 9)
    assert torch.allclose(defocus_blur(images, RNG, radius=0, alias=0), images, atol=1e-6)
    assert torch.equal(disk(3, 0.0), disk(3, 0.01))
