"""Gaussian blurs against scikit-image and torchvision."""

import numpy as np
import pytest
import torch
from skimage.filters import gaussian

from snellen.core.randomness import Randomness
from snellen.methods.corruptions.blur import gaussian_blur, kernel_blur, sized_kernel

RNG = Randomness(0).bind(2)


@pytest.fixture
def images():
    return torch.rand(2, 3, 24, 17, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("deviation", [0.4, 1.0, 2.5, 6.0])
def test_blur_equals_scikit_image(images, deviation):
    expected = [gaussian(image.double().numpy(), sigma=deviation, channel_axis=0) for image in images]
    assert np.abs(gaussian_blur(images, RNG, deviation=deviation).numpy() - np.stack(expected)).max() < 2e-6


@pytest.mark.parametrize("kernel", [3, 5, 11, 25])
def test_kernel_blur_equals_torchvision(images, kernel):
    functional = pytest.importorskip("torchvision.transforms.functional")
    expected = functional.gaussian_blur(images.double(), kernel)
    assert float((kernel_blur(images, RNG, kernel=kernel) - expected).abs().max()) < 2e-6


@pytest.mark.parametrize("kernel", [1.0, 0.3, 0.0])
def test_small_kernels_are_the_identity(images, kernel):
    assert torch.equal(kernel_blur(images, RNG, kernel=kernel), images)


def test_kernel_grows_without_jumps():
    spreads = []
    for size in np.arange(1, 26, 0.05):
        kernel = sized_kernel(size)
        assert size - 1e-9 <= len(kernel) < size + 2
        assert float(kernel.sum()) == pytest.approx(1)
        offsets = torch.arange(len(kernel), dtype=torch.float64) - len(kernel) // 2
        spreads.append(float(kernel @ offsets**2) ** 0.5)
    steps = np.diff(spreads)[2:]  # a spread, a root, rises steeply from 0
    assert steps.min() > 0
    assert steps.max() < 0.1
