"""Views from aside, beside torchvision's."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.training.transforms import random_perspectives, warp


def test_a_warped_image_is_torchvisions_up_to_the_place_of_pixel_centres() -> None:
    side = 64
    at = torch.linspace(0, 1, side)
    smooth = torch.stack([at.expand(side, side), at[:, None].expand(side, side), torch.full((side, side), 0.5)])[None]
    corners = torch.tensor([[[-0.9, -0.8], [0.95, -1.0], [0.8, 0.9], [-1.0, 0.85]]])
    edge = side - 1
    starts = [[0, 0], [edge, 0], [edge, edge], [0, edge]]
    ends = [[round(float((x + 1) / 2 * edge)), round(float((y + 1) / 2 * edge))] for x, y in corners[0]]
    expected = reference.perspective(smooth, starts, ends)
    inside = expected[0, 2] == 0.5
    assert int(inside.sum()) > side * side // 2
    difference = (warp(smooth, corners) - expected)[0][:, inside]
    assert float(difference.abs().quantile(0.98)) < 0.03


def test_a_warp_sends_the_corners_where_they_should_go() -> None:
    image = torch.zeros(1, 1, 40, 40)
    image[..., :10, :10] = 1.0
    corners = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]])
    warped = warp(image, corners)
    assert torch.allclose(warped[0, 0, 21:24, 21:24], torch.ones(3, 3))
    assert float(warped[0, 0, :19].abs().max()) == 0
    assert float(warped[0, 0, 27:, 27:].abs().max()) == 0


def test_a_share_stays_as_it_is_and_draws_belong_to_images() -> None:
    shown = torch.rand(30, 3, 12, 12)
    rng = Randomness(1).bind(30)
    seen, targets = random_perspectives(0.2, share=0.5)(shown, torch.arange(30), rng)
    same = (seen == shown).all(3).all(2).all(1)
    assert 7 < int(same.sum()) < 23
    alone, _ = random_perspectives(0.2, share=0.5)(shown[4:5], torch.zeros(1), rng[[4]])
    assert torch.allclose(alone, seen[4:5], atol=1e-6)
    assert targets.tolist() == list(range(30))
    untouched, _ = random_perspectives(0.2, share=0.0)(shown, torch.zeros(30), rng)
    assert torch.equal(untouched, shown)


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match="distortion"):
        random_perspectives(1.0)
