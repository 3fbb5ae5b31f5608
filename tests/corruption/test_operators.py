"""Operators against independent implementations (Pillow, scikit-image, colorsys) and closed forms."""

import colorsys

import numpy as np
import pytest
import torch
from PIL import Image

from snellen.corruption.blur import gaussian_blur
from snellen.corruption.colour import brightness, contrast
from snellen.corruption.digital import box_resampling, pixelate
from snellen.corruption.noise import gaussian_noise


@pytest.fixture
def images():
    return torch.rand(2, 3, 24, 17, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("deviation", [0.4, 1.0, 2.5, 6.0])
def test_blur_equals_scikit_image(images, deviation):
    filters = pytest.importorskip("skimage.filters")
    expected = [
        filters.gaussian(image.permute(1, 2, 0).double().numpy(), sigma=deviation, channel_axis=-1, mode="nearest")
        for image in images
    ]
    blurred = gaussian_blur(images, deviation).permute(0, 2, 3, 1)
    assert np.abs(blurred.numpy() - np.stack(expected)).max() < 1e-5


@pytest.mark.parametrize("factor", [0.95, 0.6, 0.25])
def test_pixelate_equals_pillow_within_its_rounding(images, factor):
    for image in images:
        pixels = (image * 255).round().byte()
        pil = Image.fromarray(pixels.permute(1, 2, 0).numpy())
        small = pil.resize((int(17 * factor), int(24 * factor)), Image.Resampling.BOX)
        expected = np.asarray(small.resize((17, 24), Image.Resampling.BOX)).astype(float)
        ours = pixelate(pixels[None] / 255, factor)[0].permute(1, 2, 0).numpy() * 255
        # Pillow rounds to bytes after each of the two axes.
        assert np.abs(ours - expected).max() <= 1.01


def test_box_matrix_is_pillows_for_every_pair_of_sizes():
    for source in range(2, 30):
        unit = np.eye(source, dtype=np.float32)
        for target in range(1, 30):
            columns = [
                np.asarray(Image.fromarray(row[None]).resize((target, 1), Image.Resampling.BOX))[0] for row in unit
            ]
            assert np.abs(np.stack(columns, 1) - box_resampling(source, target).numpy()).max() < 1e-6


def test_box_rows_are_averages():
    matrix = box_resampling(24, 7)
    assert torch.allclose(matrix.sum(1), torch.ones(7, dtype=torch.float64))
    assert torch.equal(box_resampling(9, 9), torch.eye(9, dtype=torch.float64))


@pytest.mark.parametrize("amount", [0.05, 0.3, 0.5])
def test_brightness_equals_a_trip_through_hsv(images, amount):
    images[0, :, 0, 0] = 0.0  # black has no hue
    bright = brightness(images, amount)
    for y, x in ((0, 0), (3, 4), (23, 16), (10, 9)):
        hue, saturation, value = colorsys.rgb_to_hsv(*images[0, :, y, x].tolist())
        expected = colorsys.hsv_to_rgb(hue, saturation, min(value + amount, 1.0))
        assert torch.allclose(bright[0, :, y, x], torch.tensor(expected), atol=1e-5)


@pytest.mark.parametrize("factor", [0.4, 0.05])
def test_contrast_by_hand(images, factor):
    mean = images.mean((2, 3), keepdim=True)
    assert torch.allclose(contrast(images, factor), ((images - mean) * factor + mean).clamp(0, 1), atol=1e-6)
    assert torch.allclose(contrast(images, factor).mean((2, 3)), mean[..., 0, 0], atol=1e-5)


def test_noise_has_the_stated_deviation():
    grey = torch.full((1, 3, 200, 200), 0.5)
    draws = torch.randn(grey.shape, generator=torch.Generator().manual_seed(0))
    kept = draws.clone()
    noisy = gaussian_noise(grey, 0.1, draws)
    assert abs(float((noisy - grey).std()) - 0.1) < 0.001
    assert torch.equal(draws, kept)
