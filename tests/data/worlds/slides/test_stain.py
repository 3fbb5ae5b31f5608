"""Dyes: light falls as Beer and Lambert say, and sites differ more than slides."""

from __future__ import annotations

import numpy as np
import torch

from snellen.data.worlds.slides.rendering import EOSIN, HAEMATOXYLIN, stained, stains_of


def test_light_left_is_close_to_the_exponential() -> None:
    stains = torch.tensor([[HAEMATOXYLIN, EOSIN, (1.0, 1.0, 1.0)]])
    amounts = torch.linspace(0, 2, 40)[None, None]
    pixels = stained(stains, amounts, torch.zeros_like(amounts)).numpy()[0, 0]
    expected = 255 * np.exp(-amounts[0, 0].numpy()[:, None] * np.array(HAEMATOXYLIN))
    assert pixels.dtype == np.uint8
    assert np.abs(pixels - expected).max() < 0.0167 * 255 + 0.5
    assert pixels[0].tolist() == [255, 255, 255]
    assert (np.diff(pixels.astype(int), axis=0) <= 0).all()


def test_bare_glass_is_the_lamp() -> None:
    stains = stains_of(torch.arange(50), torch.arange(50) + 100)
    glass = stained(stains, torch.zeros(50, 1, 1), torch.zeros(50, 1, 1)).numpy()[:, 0, 0]
    assert stains.shape == (50, 3, 3)
    assert stains.min() > 0
    np.testing.assert_array_equal(glass, (stains[:, 2] * 255 + 0.5).to(torch.uint8).numpy())
    assert glass.min() > 240


def test_slides_of_one_site_look_alike() -> None:
    slides = torch.arange(200)
    one = stains_of(torch.zeros(200, dtype=torch.int64), slides)
    several = stains_of(slides, slides)
    assert (several[:, :2].std(0) > 2 * one[:, :2].std(0)).all()
