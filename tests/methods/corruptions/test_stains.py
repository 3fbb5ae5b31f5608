"""Stains: their ink, number and places, and textures of the user."""

import math

import pytest
import torch

from snellen.core.randomness import Randomness
from snellen.methods.corruptions.marks import INKS, ink, stain_deposit

WHITE = torch.ones(1, 3, 224, 224)


def stained(rows, seed=0, size=(224, 224), **parameters):
    images = torch.ones(rows, 3, *size)
    return stain_deposit(images, Randomness(seed).bind(rows), **parameters)


@pytest.mark.parametrize(("side", "share"), [(24, 0.625), (32, 0.541)])
def test_inks_are_as_dark_as_the_published_ones(side, share):
    inks = [ink(kind, side, share) for kind in range(INKS)]
    assert torch.stack(inks).float().mean().item() == pytest.approx(share, abs=0.002)
    for first in range(INKS):
        assert not any(torch.equal(inks[first], other) for other in inks[first + 1 :])


@pytest.mark.parametrize("kind", range(INKS))
def test_an_ink_is_the_same_shape_at_any_side(kind):
    small, large = ink(kind, 24, 0.58).float(), ink(kind, 96, 0.58).float()
    assert (torch.nn.functional.avg_pool2d(large[None], 4)[0] - small).abs().mean() < 0.06


def test_one_mark_is_one_whole_ink_in_black():
    changed = stained(30, marks=1, side=24)
    assert torch.equal(changed, changed[:, :1].expand_as(changed))
    assert set(changed.unique().tolist()) == {0.0, 1.0}
    areas = {round(ink(kind, 24, 0.625).sum().item()) for kind in range(INKS)}
    assert {round(area) for area in (1 - changed[:, 0]).sum((1, 2)).tolist()} <= areas


def test_number_of_marks_is_uniform():
    # Ink by the expected number of marks: little overlaps on so large an image.
    ones = (1 - stained(300, marks=1, side=12, size=(112, 112))[:, 0]).sum((1, 2)).mean()
    for marks in (2, 5):
        mean = (1 - stained(300, marks=marks, side=12, size=(112, 112))[:, 0]).sum((1, 2)).mean()
        assert (mean / ones).item() == pytest.approx((1 + marks) / 2, rel=0.09)


def test_marks_below_one_are_a_probability():
    dark = (stained(400, marks=0.3, side=24, size=(64, 64)) == 0).flatten(1).any(1)
    assert dark.float().mean().item() == pytest.approx(0.3, abs=0.08)
    assert torch.equal(stained(20, marks=0.0, side=24), WHITE.expand(20, -1, -1, -1))


def test_marks_keep_off_the_borders_and_reach_all_other_places():
    dark = (stained(300, marks=10, side=24)[:, 0] == 0).any(0)
    rows, columns = dark.any(1).nonzero().flatten(), dark.any(0).nonzero().flatten()
    for line in (rows, columns):
        assert 10 <= line.min() <= 14
        assert 209 <= line.max() <= 213


@pytest.mark.parametrize("marks", [1.0, 1.7, 2.0, 3.5])
def test_more_marks_only_add(marks):
    fewer, more = stained(40, marks=marks, side=24), stained(40, marks=marks + 1, side=24)
    assert (more <= fewer).all()
    assert not torch.equal(more, fewer)


def test_more_than_a_block_of_marks():
    few, many = stained(2, marks=32, side=4), stained(2, marks=200, side=4)
    assert (many == 0).float().mean() > (few == 0).float().mean()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (28, 28), (40, 300), (51, 51)])
@pytest.mark.parametrize("side", [0.2, 4.0, 24.0])
def test_any_size(size, side):
    images = torch.rand(3, 3, *size, generator=torch.Generator().manual_seed(0))
    changed = stain_deposit(images, Randomness(0).bind(3), marks=3, side=side)
    assert changed.shape == images.shape
    assert ((changed == images) | (changed == 0)).all()
    assert (changed == 0).flatten(1).any(1).all()


def test_scaled_lengths_give_the_scaled_picture():
    small = stained(20, marks=1, side=12, size=(112, 112))
    large = stained(20, marks=1, side=24)
    assert (torch.nn.functional.avg_pool2d(large, 2) - small).abs().mean() < 0.004


def test_batch_is_single_and_input_is_kept():
    images = torch.rand(4, 3, 60, 80, generator=torch.Generator().manual_seed(0))
    kept, rng = images.clone(), Randomness(1).bind(4)
    changed = stain_deposit(images, rng, marks=3.3, side=11.4)
    assert torch.equal(images, kept)
    for row in range(4):
        assert torch.equal(stain_deposit(images[[row]], rng[[row]], marks=3.3, side=11.4)[0], changed[row])
    assert stain_deposit(images[:0], Randomness(1).bind(0), marks=3, side=9).shape == (0, 3, 60, 80)


def test_textures_of_the_right_side_are_laid_on_as_they_are():
    texture = torch.ones(3, 24, 24)
    texture[:, 3:7, 5:20] = 0.0
    texture[:, 12, 12] = 0.25
    changed = stain_deposit(WHITE, Randomness(0).bind(1), marks=1, side=24, textures=[texture])
    places = (changed[0, 0] < 1).nonzero()
    top, left = places.min(0).values.tolist()
    assert torch.equal(changed[0, :, top - 3 : top + 21, left - 5 : left + 19], texture)
    assert (changed < 1).sum() == (texture < 1).sum()


def test_other_textures_are_scaled_in_proportion():
    texture = torch.zeros(1, 30, 60)
    changed = stain_deposit(WHITE, Randomness(0).bind(1), marks=1, side=24, textures=[texture])
    rows, columns = (changed[0, 0] == 0).any(1).sum(), (changed[0, 0] == 0).any(0).sum()
    assert (rows, columns) == (12, 24)


def test_every_texture_is_used():
    textures = [torch.full((1, 24, 24), value) for value in (0.2, 0.4, 0.6)]
    changed = stain_deposit(WHITE.repeat(60, 1, 1, 1), Randomness(0).bind(60), marks=1, side=24, textures=textures)
    darkest = changed.flatten(1).min(1).values
    counts = [math.isclose(value, 0.2, abs_tol=1e-6) for value in darkest.tolist()]
    assert 8 < sum(counts) < 32
    assert {round(value, 3) for value in darkest.tolist()} == {0.2, 0.4, 0.6}
