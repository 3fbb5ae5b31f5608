"""Pixelation and JPEG against Pillow."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from snellen.core.randomness import Randomness
from snellen.methods.corruptions import digital
from snellen.methods.corruptions.digital import box_resampling, jpeg_compression, pixelate

skimage = pytest.importorskip("skimage")

RNG = Randomness(0)


@pytest.fixture(scope="module")
def photos():
    """Bytes (3, 61, 43, 3)."""
    sources = [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea()]
    pixels = np.stack([skimage.transform.resize(photo, (61, 43), anti_aliasing=True) for photo in sources])
    return np.round(pixels * 255).astype(np.uint8)


def tensor(photos):
    return torch.from_numpy(photos).permute(0, 3, 1, 2).contiguous() / 255


def levels(images):
    return images.permute(0, 2, 3, 1).double().numpy() * 255


@pytest.mark.parametrize("factor", [0.95, 0.6, 0.5, 0.25, 0.1, 0.001])
def test_pixelate_is_pillows_within_its_rounding(photos, factor):
    ours = levels(pixelate(tensor(photos), RNG, factor=factor))
    for photo, values in zip(photos, ours, strict=True):
        small = (max(int(43 * factor), 1), max(int(61 * factor), 1))
        pixelated = Image.fromarray(photo).resize(small, Image.Resampling.BOX).resize((43, 61), Image.Resampling.BOX)
        # Pillow rounds to bytes after each of the two axes.
        assert np.abs(values - np.asarray(pixelated).astype(float)).max() <= 1.01


def test_box_matrix_is_pillows_for_every_pair_of_sizes():
    for source in range(2, 30):
        unit = np.eye(source, dtype=np.float32)
        for target in range(1, 30):
            columns = [
                np.asarray(Image.fromarray(row[None]).resize((target, 1), Image.Resampling.BOX))[0] for row in unit
            ]
            assert np.abs(np.stack(columns, 1) - box_resampling(source, target).numpy()).max() < 1e-6


@pytest.mark.parametrize("factor", [1.0, 0.95, 0.6, 0.4, 0.3, 0.1])
def test_pixelate_is_the_product_with_the_box_matrices(photos, factor):
    images = tensor(photos)
    tall, wide = max(int(61 * factor), 1), max(int(43 * factor), 1)
    vertical = box_resampling(tall, 61) @ box_resampling(61, tall)
    horizontal = box_resampling(wide, 43) @ box_resampling(43, wide)
    expected = vertical @ images.double() @ horizontal.T
    assert (pixelate(images, RNG, factor=factor) - expected).abs().max() < 1e-6


def test_box_rows_are_averages():
    matrix = box_resampling(24, 7)
    assert torch.allclose(matrix.sum(1), torch.ones(7, dtype=torch.float64))
    assert torch.equal(box_resampling(9, 9), torch.eye(9, dtype=torch.float64))


def test_enlarging_takes_one_pixel_each():
    for source in range(1, 60):
        for target in range(source, 70, 3):
            assert torch.equal(box_resampling(source, target).amax(1), torch.ones(target, dtype=torch.float64))


def through_pillow(photo, quality):
    file = BytesIO()
    Image.fromarray(photo).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("quality", [100, 96, 80, 25, 10, 7, 1])
def test_jpeg_is_pillows_to_the_bit(monkeypatch, photos, quality, threads):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(digital, "WORTH_THREADS", 1)
    ours = levels(jpeg_compression(tensor(photos), RNG, quality=quality))
    for photo, values in zip(photos, ours, strict=True):
        assert np.abs(values - through_pillow(photo, quality)).max() < 1e-3


@pytest.mark.parametrize("quality", [100, 80, 25, 7, 1])
def test_one_channel_is_what_three_equal_ones_become(photos, quality):
    for height, width in ((61, 43), (28, 28), (5, 17)):
        grey = tensor(photos)[:, :1, :height, :width]
        three = jpeg_compression(grey.expand(-1, 3, -1, -1), RNG, quality=quality)
        assert torch.equal(jpeg_compression(grey, RNG, quality=quality).expand_as(three), three)


def test_threads_keep_the_order(monkeypatch):
    shades = torch.linspace(0, 1, 40).view(40, 1, 1, 1).expand(40, 3, 8, 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(digital, "WORTH_THREADS", 1)
    assert (jpeg_compression(shades, RNG, quality=90) - shades).abs().max() < 0.02


def test_jpeg_rounds_values_and_qualities(photos):
    images = tensor(photos)
    expected = jpeg_compression(images, RNG, quality=18)
    for shift in (-0.4, 0.4):
        assert torch.equal(jpeg_compression((images + shift / 255).clamp(0, 1), RNG, quality=17.8), expected)
    assert torch.equal(jpeg_compression(images, RNG, quality=0.2), jpeg_compression(images, RNG, quality=1.0))
    assert torch.equal(jpeg_compression(images, RNG, quality=130.0), jpeg_compression(images, RNG, quality=100.0))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (24, 17), (17, 8)])
@pytest.mark.parametrize(("kind", "parameter", "value"), [(pixelate, "factor", 0.4), (jpeg_compression, "quality", 15)])
def test_any_size_and_batch_is_single(kind, parameter, value, size):
    images = torch.rand(3, 3, *size, generator=torch.Generator().manual_seed(0))
    kept = images.clone()
    changed = kind(images, RNG, **{parameter: value})
    assert changed.shape == images.shape
    assert changed.is_contiguous()
    assert torch.equal(images, kept)
    assert changed.min() >= 0
    assert changed.max() <= 1
    for row in range(3):
        assert torch.allclose(kind(images[row : row + 1], RNG, **{parameter: value})[0], changed[row], atol=1e-6)
    assert kind(images[:0], RNG, **{parameter: value}).shape == (0, 3, *size)


@pytest.mark.parametrize(
    ("kind", "parameter", "values"),
    [(pixelate, "factor", [1.0, 0.9, 0.6, 0.4, 0.25]), (jpeg_compression, "quality", [100, 80, 50, 25, 10, 5])],
)
def test_the_change_grows(kind, parameter, values, photos):
    images = tensor(photos)
    changes = [float((kind(images, RNG, **{parameter: value}) - images).abs().mean()) for value in values]
    assert changes == sorted(changes)
    assert changes[0] < 0.01
