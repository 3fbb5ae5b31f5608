"""Properties: against scikit-image, scipy and closed forms; whole images and batches, bytes and floating point."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from snellen.core.errors import InputError
from snellen.metrics.inspection.properties import ImageProperties, image_properties
from tests.metrics.inspection.planted import pictures

IMAGES = pictures(12, size=48)
FOUND = image_properties(IMAGES)


def luma(images: torch.Tensor) -> np.ndarray:
    return np.einsum("nchw,c->nhw", images.double().numpy() / 255, [0.299, 0.587, 0.114])


def test_light_and_contrast_against_numpy() -> None:
    planes = luma(IMAGES)
    assert FOUND.brightness == pytest.approx(planes.mean((1, 2)), abs=1e-12)
    assert FOUND.contrast == pytest.approx(planes.std((1, 2)), abs=1e-12)
    assert FOUND.shadow == pytest.approx(np.quantile(planes, 0.01, axis=(1, 2)), abs=1.5 / 255)
    assert FOUND.highlight == pytest.approx(np.quantile(planes, 0.99, axis=(1, 2)), abs=1.5 / 255)


def test_noise_against_scipy() -> None:
    signal = pytest.importorskip("scipy.signal")
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]])
    for plane, found in zip(luma(IMAGES), FOUND.noise, strict=True):
        response = np.abs(signal.convolve2d(plane, mask, mode="valid")).sum()
        assert found == pytest.approx(math.sqrt(math.pi / 2) * response / (6 * 46 * 46), abs=1e-12)


def test_entropy_against_scikit_image() -> None:
    measure = pytest.importorskip("skimage.measure")
    for plane, found in zip(luma(IMAGES), FOUND.entropy, strict=True):
        assert found == pytest.approx(measure.shannon_entropy(np.rint(plane * 255)), abs=1e-3)  # luma of exactly a half


def test_colour_by_definition() -> None:
    red, green, blue = IMAGES.double().numpy().transpose(1, 0, 2, 3) / 255
    axes = red - green, (red + green) / 2 - blue
    spread = np.sqrt(sum(axis.var((1, 2)) for axis in axes))
    middle = np.sqrt(sum(axis.mean((1, 2)) ** 2 for axis in axes))
    assert FOUND.colourfulness == pytest.approx(spread + 0.3 * middle, abs=1e-12)
    colour = pytest.importorskip("skimage.color")
    expected = [colour.rgb2hsv(image.permute(1, 2, 0).numpy())[..., 1].mean() for image in IMAGES]
    assert FOUND.saturation == pytest.approx(np.array(expected), abs=1e-6)


def test_white_noise_is_measured() -> None:
    noise = 128 + 10 * torch.randn(1, 1, 256, 256, generator=torch.Generator().manual_seed(0))
    found = image_properties(noise.round().to(torch.uint8).expand(-1, 3, -1, -1))
    assert found.noise[0] == pytest.approx(10 / 255, rel=0.02)
    assert found.contrast[0] == pytest.approx(10 / 255, rel=0.02)
    assert found.sharpness[0] == pytest.approx(2, rel=0.05)  # averages of four have half the deviation
    # The entropy of a normal distribution in steps that are fine beside its deviation.
    assert found.entropy[0] == pytest.approx(math.log2(10 * math.sqrt(2 * math.pi * math.e)), rel=0.01)


def test_sharpness_falls_with_blur_and_not_with_contrast() -> None:
    filters = pytest.importorskip("scipy.ndimage")
    grain = 60 * torch.rand(IMAGES.shape, generator=torch.Generator().manual_seed(0)) - 30
    grainy = (IMAGES + grain).clamp(0, 255).round().to(torch.uint8)
    previous = image_properties(grainy).sharpness
    for deviation in (0.5, 0.8, 1.1):
        blurred = filters.gaussian_filter(grainy.numpy(), (0, 0, deviation, deviation))
        now = image_properties(torch.from_numpy(blurred)).sharpness
        assert (now < previous).all()
        previous = now
    smooth = torch.linspace(0, 1, 200).square().expand(1, 3, 200, 200)
    assert image_properties(smooth).sharpness[0] < 0.3 < image_properties(grainy).sharpness.min()
    half = (IMAGES.float() / 255 - 0.5) * 0.5 + 0.5
    assert image_properties(half).sharpness == pytest.approx(FOUND.sharpness, rel=0.05)


def test_clipping_counts_both_ends() -> None:
    image = torch.full((1, 3, 10, 10), 100, dtype=torch.uint8)
    image[..., 0, :] = 1
    image[..., 1:3, :] = 254
    image[..., 3, :] = 2
    found = image_properties(image)
    assert (found.clipped_black[0], found.clipped_white[0]) == (pytest.approx(0.1), pytest.approx(0.2))


@pytest.mark.parametrize("value", [0, 130, 255])
def test_a_constant_image(value: int) -> None:
    found = image_properties(torch.full((1, 3, 9, 30), value, dtype=torch.uint8))
    assert found.brightness[0] == pytest.approx(value / 255)
    for name in ("contrast", "sharpness", "saturation", "colourfulness", "noise", "entropy"):
        assert getattr(found, name)[0] == pytest.approx(0, abs=1e-12), name
    assert found.shadow[0] == found.highlight[0] == pytest.approx(value / 255)


@pytest.mark.parametrize("size", [(8, 8), (9, 31), (224, 180)])
def test_any_batch_size_and_type_gives_the_same(size: tuple[int, int]) -> None:
    images = torch.randint(0, 256, (5, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole = image_properties(images).by_name()
    parts = ImageProperties.joined([image_properties(images[:2]), image_properties(images[2:])]).by_name()
    floating = image_properties(images.float() / 255).by_name()
    for name, values in whole.items():
        assert values.dtype == np.float64
        assert parts[name] == pytest.approx(values, abs=1e-12), name
        assert floating[name].tolist() == values.tolist(), name


def test_ranges() -> None:
    extremes = torch.randint(0, 2, (20, 3, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8) * 255
    upper = {"contrast": 0.5, "entropy": 8, "sharpness": 1e3, "noise": 4, "colourfulness": 2}
    for name, values in image_properties(extremes).by_name().items():
        assert ((values >= 0) & (values <= upper.get(name, 1))).all(), name


def test_no_images_and_parts_that_do_not_fit() -> None:
    assert len(image_properties(IMAGES[:0])) == 0
    with pytest.raises(InputError, match="at least one part"):
        ImageProperties.joined([])
    with pytest.raises(InputError, match="one value per image"):
        ImageProperties(**{**FOUND.by_name(), "noise": FOUND.noise[1:]})
    with pytest.raises(InputError, match="repeat a grey channel"):
        image_properties(IMAGES[:, :1])
