"""Bubbles against Pillow's drawing."""

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from snellen.core.randomness import Randomness
from snellen.methods.corruptions import marks
from snellen.methods.corruptions.marks import bubble, disc


@pytest.mark.parametrize("radius", [*range(1, 25), 40, 77])
def test_disc_is_pillows(radius):
    drawn = Image.new("L", (2 * radius + 1, 2 * radius + 1))
    ImageDraw.Draw(drawn).ellipse((0, 0, 2 * radius, 2 * radius), fill=255)
    assert np.array_equal(np.asarray(drawn) > 0, disc(radius).numpy())


@pytest.mark.parametrize("radius", [0.2, 0.8, 2.5, 7.3])
def test_disc_of_any_radius_has_its_area(radius):
    area = disc(radius).sum().item()
    assert math.pi * max(radius - 0.5, 0) ** 2 <= area <= math.pi * (radius + 1.1) ** 2
    assert torch.equal(disc(radius), disc(radius).T)
    assert torch.equal(disc(radius), disc(radius).flip(0))


def drawn_by_pillow(pixels, draws, radius):
    """The published steps with these draws, and with width and height as they are."""
    image = Image.fromarray(pixels)
    layer = Image.new("RGBA", image.size, (255, 255, 255, 0))
    pen = ImageDraw.Draw(layer)
    for size, across, down in draws:
        r = 3 + int(size * (radius - 2))
        x, y = (
            r + int(share * (length - 2 * r + 1)) for share, length in ((across, image.width), (down, image.height))
        )
        pen.ellipse((x - r - 2, y - r - 2, x + r + 2, y + r + 2), fill=(255, 255, 255, 130))
        pen.ellipse((x - r, y - r, x + r, y + r), fill=(255, 255, 255, 100))
    image.paste(layer, (0, 0), layer)
    return np.asarray(image)


@pytest.mark.parametrize("size", [(224, 224), (224, 300), (260, 224)])
@pytest.mark.parametrize("radius", [5, 17])
def test_overlay_is_pillows(size, radius, monkeypatch):
    generator = np.random.default_rng(0)
    draws = generator.random((60, 3)).tolist()  # so many that they overlap
    draws[:4] = [[0.99, 0.0, 0.0], [0.99, 0.9999, 0.9999], [0.0, 0.5, 0.0], [0.5, 0.9999, 0.2]]  # at the borders
    monkeypatch.setattr(marks, "mark_draws", lambda *_: [draws])
    pixels = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    # All are drawn if the number is as large as its upper end: 7 .. 7 + 53 · share.
    rng = Randomness(next(seed for seed in range(999) if first_share(seed) > 0.99)).bind(1)
    changed = bubble(images, rng, radius=radius, count=60)[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(changed - drawn_by_pillow(pixels, draws, radius).astype(float)).max() <= 0.51


def first_share(seed):
    return Randomness(seed).bind(1).uniform("number of bubbles", (1,)).item()


def test_number_and_radii_are_uniform():
    # Area of bubbles that hardly overlap, from the published distributions: numbers 7..9, radii 3..5.
    images = torch.zeros(200, 3, 224, 224)
    changed = bubble(images, Randomness(0).bind(200), radius=5, count=9)
    inside = torch.isclose(changed[:, 0], torch.tensor(100 / 255)).sum((1, 2)).float().mean().item()
    expected = 8 * sum(disc(radius).sum().item() for radius in (3, 4, 5)) / 3
    assert 0.95 * expected < inside < 1.02 * expected
    rims = torch.isclose(changed[:, 0], torch.tensor(130 / 255)).sum((1, 2)).float().mean().item()
    whole = 8 * sum(disc(radius + 2).sum().item() for radius in (3, 4, 5)) / 3
    assert 0.93 * (whole - expected) < rims < 1.02 * (whole - expected)


@pytest.mark.parametrize("count", [0, 3.4, 7, 40])
def test_number_of_bubbles(count):
    images = torch.zeros(30, 3, 224, 224)
    area = (bubble(images, Randomness(0).bind(30), radius=3, count=count)[:, 0] > 0).sum((1, 2))
    single = disc(5).sum().item()
    assert (area <= math.ceil(count) * single).all()
    assert (area >= 0.8 * int(min(count, 7)) * single).all()
    assert (area.max() > 7 * single) == (count == 40)


def test_larger_parameters_change_more():
    images = torch.zeros(8, 3, 100, 100)
    rng = Randomness(0).bind(8)
    change = [
        bubble(images, rng, radius=radius, count=count).mean().item()
        for radius, count in ((1.5, 7), (2, 9), (3.3, 9), (4, 12), (8, 12), (8, 25))
    ]
    assert change == sorted(change)
    assert len(set(change)) == 6


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (28, 28), (30, 200)])
@pytest.mark.parametrize("radius", [0.1, 2.2, 17.0])
def test_any_size(size, radius):
    images = torch.rand(3, 3, *size, generator=torch.Generator().manual_seed(0))
    changed = bubble(images, Randomness(0).bind(3), radius=radius, count=11.5)
    assert changed.shape == images.shape
    assert (changed >= images - 1e-6).all()
    assert (changed <= 1).all()
    assert (changed > images).flatten(1).any(1).all()


def test_scaled_lengths_give_the_scaled_picture():
    small = bubble(torch.zeros(20, 3, 112, 112), Randomness(0).bind(20), radius=8.5, count=25)
    large = bubble(torch.zeros(20, 3, 224, 224), Randomness(0).bind(20), radius=17, count=25)
    assert small.mean().item() == pytest.approx(large.mean().item(), rel=0.05)
    assert (torch.nn.functional.avg_pool2d(large, 2) - small).abs().mean() < 0.25 * large.mean()


def test_batch_is_single_and_input_is_kept():
    images = torch.rand(4, 3, 60, 80, generator=torch.Generator().manual_seed(0))
    kept, rng = images.clone(), Randomness(1).bind(4)
    changed = bubble(images, rng, radius=4.4, count=12.3)
    assert torch.equal(images, kept)
    for row in range(4):
        assert torch.equal(bubble(images[[row]], rng[[row]], radius=4.4, count=12.3)[0], changed[row])
    assert bubble(images[:0], Randomness(1).bind(0), radius=4, count=9).shape == (0, 3, 60, 80)
