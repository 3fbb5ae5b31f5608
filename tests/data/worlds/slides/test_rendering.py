"""A part of a slide is the same pixels, however it is asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from snellen.data.worlds.slides.rendering import render_regions
from snellen.data.worlds.slides.slides import Slides

SLIDES = Slides(count=4, tiles_across=8, tile_size=32, positive_rate=0.3, seed=3)


@pytest.fixture(scope="module", params=[0, 1, 2, 3, 4])
def level_and_whole(request: pytest.FixtureRequest) -> tuple[int, NDArray[np.uint8], NDArray[np.uint8]]:
    level: int = request.param
    slide = positive_slide()
    side = slide.side >> level
    whole = render_regions([slide], level=level, tops=[0], lefts=[0], height=side, width=side)
    return level, whole.pixels[0], whole.masks[0]


def positive_slide():
    return next(slide for slide in (SLIDES.slide(index) for index in range(4)) if slide.label)


def test_a_tile_alone_is_a_crop_of_the_whole(
    level_and_whole: tuple[int, NDArray[np.uint8], NDArray[np.uint8]],
) -> None:
    level, pixels, masks = level_and_whole
    slide = positive_slide()
    rng = np.random.default_rng(level)
    for _ in range(6):
        height, width = rng.integers(1, min(40, len(pixels)) + 1, 2).tolist()
        top, left = int(rng.integers(0, len(pixels) - height + 1)), int(rng.integers(0, len(pixels) - width + 1))
        alone = render_regions([slide], level=level, tops=[top], lefts=[left], height=height, width=width)
        np.testing.assert_array_equal(alone.pixels[0], pixels[top : top + height, left : left + width])
        np.testing.assert_array_equal(alone.masks[0], masks[top : top + height, left : left + width])


def test_a_batch_is_its_members_one_by_one() -> None:
    slides = [SLIDES.slide(index) for index in (0, 1, 2, 3, 1)]
    tops, lefts = [64, 96, 0, 128, 33], [96, 64, 0, 128, 77]
    together = render_regions(slides, level=0, tops=tops, lefts=lefts, height=32, width=48)
    for index, slide in enumerate(slides):
        alone = render_regions([slide], level=0, tops=[tops[index]], lefts=[lefts[index]], height=32, width=48)
        np.testing.assert_array_equal(together.pixels[index], alone.pixels[0])
        np.testing.assert_array_equal(together.masks[index], alone.masks[0])


def test_threads_change_nothing() -> None:
    slide, before = positive_slide(), torch.get_num_threads()
    one = render_regions([slide], level=0, tops=[0], lefts=[0], height=256, width=256)
    try:
        torch.set_num_threads(2 if before == 1 else 1)
        other = render_regions([slide], level=0, tops=[0], lefts=[0], height=256, width=256)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(one.pixels, other.pixels)


@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_coarser_level_is_the_finest_one_averaged(level: int) -> None:
    """Levels are rendered and not averaged, but show the same slide: blocks of 16 pixels agree to a few grey levels."""
    slide = positive_slide()
    finest = render_regions([slide], level=0, tops=[0], lefts=[0], height=256, width=256).pixels[0].astype(float)
    side = 256 >> level
    coarse = render_regions([slide], level=level, tops=[0], lefts=[0], height=side, width=side).pixels[0].astype(float)
    difference = np.abs(blocks(finest, 16) - blocks(coarse, 16 >> level))
    # Measured: 0.3, 1.9 and 3.3 on average; another slide is 14.5 away.
    assert difference.mean() < 5


def blocks(pixels: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    count = len(pixels) // size
    return pixels.reshape(count, size, count, size, 3).mean((1, 3))


def test_beyond_the_border_there_is_bare_glass() -> None:
    slide = positive_slide()
    found = render_regions([slide] * 2, level=0, tops=[-40, slide.side], lefts=[0, 0], height=32, width=64)
    assert (found.pixels.reshape(2, -1, 3) == found.pixels[0, 0, 0]).all()
    assert found.pixels.min() > 235
    assert not found.masks.any()
    with_margin = render_regions([slide], level=0, tops=[-32], lefts=[-32], height=320, width=320)
    inside = render_regions([slide], level=0, tops=[0], lefts=[0], height=256, width=256)
    np.testing.assert_array_equal(with_margin.pixels[0, 32:-32, 32:-32], inside.pixels[0])
    np.testing.assert_array_equal(with_margin.masks[0, 32:-32, 32:-32], inside.masks[0])


def test_no_nucleus_of_a_tumour_crosses_a_border_of_its_tile() -> None:
    for tile_size in (32, 48, 64):
        slides = Slides(count=2, tiles_across=6, tile_size=tile_size, positive_rate=1.0, positive_slides=1.0, seed=1)
        slide = slides.slide(0)
        masks = render_regions([slide], level=0, tops=[0], lefts=[0], height=slide.side, width=slide.side).masks[0]
        tiles = masks.reshape(6, tile_size, 6, tile_size).swapaxes(1, 2)
        np.testing.assert_array_equal(tiles.any((2, 3)), slide.positive)
        assert not tiles[:, :, [0, -1]].any()
        assert not tiles[:, :, :, [0, -1]].any()
