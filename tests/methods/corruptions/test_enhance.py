"""MedMNIST-C's colour operators against Pillow, the HSV of scikit-image, and torchvision's formula for gamma."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageStat

from snellen.core.randomness import Randomness
from snellen.methods.corruptions.colour import add_saturation, enhance_brightness, enhance_contrast, gamma

skimage = pytest.importorskip("skimage")

RNG = Randomness(0)
CALLS = [
    (enhance_brightness, "factor", 1.3),
    (enhance_contrast, "factor", 1.6),
    (enhance_contrast, "factor", 0.4),
    (add_saturation, "offset", 0.15),
    (gamma, "exponent", 1.4),
]


@pytest.fixture(scope="module")
def photos():
    """Bytes (3, 60, 44, 3)."""
    sources = [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea()]
    pixels = np.stack([skimage.transform.resize(photo, (60, 44), anti_aliasing=True) for photo in sources])
    return np.round(pixels * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def images(photos):
    return torch.from_numpy(photos).permute(0, 3, 1, 2).contiguous() / 255


def levels(images):
    return images.permute(0, 2, 3, 1).double().numpy() * 255


@pytest.mark.parametrize("factor", [0.3, 0.55, 0.9, 1.0, 1.1, 1.6, 2.0])
@pytest.mark.parametrize(
    ("kind", "enhancement"),
    [(enhance_brightness, ImageEnhance.Brightness), (enhance_contrast, ImageEnhance.Contrast)],
)
def test_enhancements_are_pillows_but_for_its_cutting_to_bytes(kind, enhancement, factor, photos, images):
    expected = np.stack([np.asarray(enhancement(Image.fromarray(photo)).enhance(factor)) for photo in photos])
    difference = levels(kind(images, RNG, factor=factor)) - expected
    assert difference.min() > -0.01
    assert difference.max() < 1.01


def test_contrast_turns_about_pillows_mean(photos, images):
    flat = levels(enhance_contrast(images, RNG, factor=0.0))
    for photo, values in zip(photos, flat, strict=True):
        mean = int(ImageStat.Stat(Image.fromarray(photo).convert("L")).mean[0] + 0.5)
        assert np.abs(values - mean).max() < 1e-3


@pytest.mark.parametrize("offset", [0.05, 0.15, 0.25])
def test_saturation_is_added_in_hsv(photos, images, offset):
    hsv = skimage.color.rgb2hsv(photos / 255)
    hsv[..., 1] = np.clip(hsv[..., 1] + offset, 0, 1)
    expected = np.clip(skimage.color.hsv2rgb(hsv), 0, 1) * 255
    assert np.abs(levels(add_saturation(images, RNG, offset=offset)) - expected).max() < 0.01


@pytest.mark.parametrize("exponent", [0.4, 0.9, 1.1, 2.0])
def test_gamma_is_torchvisions_table_but_for_its_cutting_to_bytes(photos, images, exponent):
    table = np.array([int((255 + 1 - 1e-3) * (level / 255) ** exponent) for level in range(256)])
    difference = levels(gamma(images, RNG, exponent=exponent)) - table[photos]
    assert np.abs(difference).max() <= 1
    assert np.allclose(levels(gamma(images, RNG, exponent=exponent)), 255 * (photos / 255) ** exponent, atol=0.01)


def test_gamma_equals_torchvision(photos, images):
    functional = pytest.importorskip("torchvision.transforms.functional")
    theirs = np.stack([np.asarray(functional.adjust_gamma(Image.fromarray(photo), 1.6)) for photo in photos])
    assert np.abs(levels(gamma(images, RNG, exponent=1.6)) - theirs).max() <= 1


@pytest.mark.parametrize(("kind", "parameter", "value"), CALLS)
class TestEachKind:
    @pytest.mark.parametrize("size", [(1, 1), (1, 9), (24, 17)])
    def test_batch_is_single_and_the_input_stays(self, kind, parameter, value, size):
        batch = torch.rand(3, 3, *size, generator=torch.Generator().manual_seed(0))
        kept = batch.clone()
        changed = kind(batch, RNG, **{parameter: value})
        assert torch.equal(batch, kept)
        assert changed.shape == batch.shape
        assert changed.min() >= 0
        assert changed.max() <= 1
        for row in range(3):
            # Powers differ in the last bit between vectors and what is left over of them.
            assert torch.allclose(kind(batch[row : row + 1], RNG, **{parameter: value})[0], changed[row], atol=1e-6)

    def test_a_strength_for_each_image(self, kind, parameter, value, images):
        strengths = torch.tensor([value, value * 0.8, value * 0.6])
        each = kind(images, RNG, **{parameter: strengths.view(3, 1, 1, 1)})
        for row, strength in enumerate(strengths.tolist()):
            assert torch.allclose(each[row], kind(images, RNG, **{parameter: strength})[row], atol=1e-5)

    def test_no_images(self, kind, parameter, value):
        assert kind(torch.zeros(0, 3, 8, 8), RNG, **{parameter: value}).shape == (0, 3, 8, 8)


@pytest.mark.parametrize(
    ("kind", "parameter", "values"),
    [
        (enhance_brightness, "factor", [1.0, 1.1, 1.5, 2.0]),
        (enhance_brightness, "factor", [1.0, 0.9, 0.5, 0.3]),
        (enhance_contrast, "factor", [1.0, 0.9, 0.5, 0.15]),
        (add_saturation, "offset", [0.0, 0.05, 0.15, 0.25]),
        (gamma, "exponent", [1.0, 1.1, 1.6, 2.0]),
        (gamma, "exponent", [1.0, 0.9, 0.6, 0.4]),
    ],
)
def test_the_change_grows_from_the_identity(kind, parameter, values, images):
    changes = [float((kind(images, RNG, **{parameter: value}) - images).abs().mean()) for value in values]
    # Contrast's own mean is a whole number of 1/255.
    assert changes[0] < 1e-6
    assert changes == sorted(changes)
