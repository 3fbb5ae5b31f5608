"""Colour operators against the published trip through HSV (scikit-image, colorsys) and by hand."""

import colorsys

import numpy as np
import pytest
import torch

from snellen.core.randomness import Randomness
from snellen.methods.corruptions.colour import brightness, contrast, saturate

skimage = pytest.importorskip("skimage")

SATURATIONS = [(0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2), (1.0, -0.1), (1.37, 0.05)]
CALLS = [
    (brightness, {"amount": 0.3}),
    (contrast, {"factor": 0.4}),
    (saturate, {"factor": 5.0, "offset": 0.1}),
    (saturate, {"factor": 0.3, "offset": 0.0}),
]
RNG = Randomness(0)


@pytest.fixture(scope="module")
def images():
    photos = [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea()]
    pixels = np.stack([skimage.transform.resize(photo, (60, 44), anti_aliasing=True) for photo in photos])
    pixels[0, 0, :5] = [[0, 0, 0], [1, 1, 1], [0.5, 0.5, 0.5], [1, 0, 0], [0, 0.2, 0.2]]
    return torch.from_numpy(np.round(pixels * 255) / 255).float().permute(0, 3, 1, 2).contiguous()


def through_hsv(images, channel, change):
    """Change one channel of HSV, as the published code does: (n, 3, h, w) → float64 (n, h, w, 3)."""
    hsv = skimage.color.rgb2hsv(images.double().permute(0, 2, 3, 1).numpy())
    hsv[..., channel] = np.clip(change(hsv[..., channel]), 0, 1)
    return np.clip(skimage.color.hsv2rgb(hsv), 0, 1)


def largest_difference(ours, theirs):
    return np.abs(ours.permute(0, 2, 3, 1).double().numpy() - theirs).max()


@pytest.mark.parametrize("amount", [0.0, 0.05, 0.1, 0.3, 0.5, -0.2])
def test_brightness_is_a_trip_through_hsv(images, amount):
    expected = through_hsv(images, 2, lambda value: value + amount)
    assert largest_difference(brightness(images, RNG, amount=amount), expected) < 1e-5


@pytest.mark.parametrize(("factor", "offset"), SATURATIONS)
def test_saturation_is_a_trip_through_hsv(images, factor, offset):
    expected = through_hsv(images, 1, lambda saturation: saturation * factor + offset)
    # The published trip divides by differences of nearly grey values, so float32 is worse than float64 by some 1e-5.
    assert largest_difference(saturate(images, RNG, factor=factor, offset=offset), expected) < 5e-5


def test_both_by_colorsys_at_single_pixels(images):
    bright = brightness(images, RNG, amount=0.2)
    saturated = saturate(images, RNG, factor=2.0, offset=0.1)
    for y, x in [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (30, 20), (59, 43)]:
        hue, saturation, value = colorsys.rgb_to_hsv(*images[0, :, y, x].tolist())
        raised = torch.tensor(colorsys.hsv_to_rgb(hue, saturation, min(value + 0.2, 1.0)))
        stronger = torch.tensor(colorsys.hsv_to_rgb(hue, min(saturation * 2 + 0.1, 1.0), value))
        assert torch.allclose(bright[0, :, y, x], raised, atol=1e-5)
        assert torch.allclose(saturated[0, :, y, x], stronger, atol=1e-5)


def test_grey_turns_red_where_saturation_is_added():
    grey = torch.full((1, 3, 2, 2), 0.8)
    assert torch.equal(saturate(grey, RNG, factor=20.0, offset=0.0), grey)
    reddened = saturate(grey, RNG, factor=1.0, offset=0.25)
    assert torch.allclose(reddened[0, :, 0, 0], torch.tensor([0.8, 0.6, 0.6]))


@pytest.mark.parametrize("factor", [0.75, 0.4, 0.05, 1.3])
def test_contrast_by_hand(images, factor):
    pixels = images.double().permute(0, 2, 3, 1).numpy()
    means = pixels.mean((1, 2), keepdims=True)
    expected = np.clip((pixels - means) * factor + means, 0, 1)
    assert largest_difference(contrast(images, RNG, factor=factor), expected) < 1e-5


def test_identities(images):
    for changed in (
        brightness(images, RNG, amount=0.0),
        contrast(images, RNG, factor=1.0),
        saturate(images, RNG, factor=1.0, offset=0.0),
    ):
        assert torch.allclose(changed, images, atol=1e-6)


@pytest.mark.parametrize(("kind", "parameters"), CALLS)
class TestEachKind:
    @pytest.mark.parametrize("size", [(1, 1), (1, 9), (24, 17)])
    def test_batch_is_single_and_the_input_stays(self, kind, parameters, size):
        images = torch.rand(3, 3, *size, generator=torch.Generator().manual_seed(0))
        images[1] = images[1, :1]  # grey
        kept = images.clone()
        changed = kind(images, RNG, **parameters)
        assert torch.equal(images, kept)
        assert changed.shape == images.shape
        assert changed.min() >= 0
        assert changed.max() <= 1
        for row in range(3):
            assert torch.allclose(kind(images[row : row + 1], RNG, **parameters)[0], changed[row], atol=1e-6)

    def test_a_strength_for_each_image(self, kind, parameters, images):
        scales = torch.tensor([1.0, 0.8, 0.6]).view(3, 1, 1, 1)
        each = kind(images, RNG, **{name: value * scales for name, value in parameters.items()})
        for row, scale in enumerate(scales.flatten().tolist()):
            alone = kind(images, RNG, **{name: value * scale for name, value in parameters.items()})
            assert torch.allclose(each[row], alone[row], atol=1e-5)

    def test_no_images(self, kind, parameters):
        assert kind(torch.zeros(0, 3, 8, 8), RNG, **parameters).shape == (0, 3, 8, 8)
