"""Tileable textures are tori to the byte, and each is the same in every batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from snellen.data.worlds.textures.patterns import DRAWN, GENERATORS, Generator
from snellen.data.worlds.textures.rendering import Recipes, render_textures
from snellen.data.worlds.textures.textures import Textures


def recipes_of(textures: Textures) -> Recipes:
    return textures._recipes("test")[0]


@pytest.mark.parametrize("generator", GENERATORS)
def test_a_moved_window_is_the_rolled_picture(generator: Generator) -> None:
    """To the byte: what leaves on one side comes back on the other, in pixels, noise and cells."""
    recipes = recipes_of(Textures(count=8, generators=(generator,), seed=2))[range(0, 8, 2)]
    picture = render_textures(recipes, size=32)
    for shift in ((5, 19), (-7, 0), (32, 64), (45, -3)):
        moved = render_textures(recipes, size=32, shift=shift)
        np.testing.assert_array_equal(moved, np.roll(picture, (-shift[0], -shift[1]), (1, 2)))


def test_a_size_that_is_no_power_of_two_wraps_to_a_grey_level() -> None:
    recipes = recipes_of(Textures(count=40, seed=2))[range(0, 40, 2)]
    picture = render_textures(recipes, size=50).astype(int)
    moved = render_textures(recipes, size=50, shift=(13, 29)).astype(int)
    difference = np.abs(moved - np.roll(picture, (-13, -29), (1, 2)))
    assert (difference > 1).mean() < 1e-3


@pytest.mark.parametrize("failure", ["crop", "rotation", "shear", "perspective", "ramp"])
def test_a_broken_texture_is_no_torus(failure: str) -> None:
    recipes = recipes_of(Textures(count=30, failures=(failure,), seed=2))[range(1, 30, 2)]
    picture = render_textures(recipes, size=32).astype(int)
    moved = render_textures(recipes, size=32, shift=(11, 13)).astype(int)
    difference = np.abs(moved - np.roll(picture, (-11, -13), (1, 2))).mean((1, 2, 3))
    assert (difference > 2).all()


def test_a_batch_is_its_members_one_by_one() -> None:
    recipes = recipes_of(Textures(count=60, size=32, seed=7))
    together = render_textures(recipes, size=32)
    for index in range(60):
        np.testing.assert_array_equal(together[index], render_textures(recipes[[index]], size=32)[0])
    order = np.random.default_rng(0).permutation(60)
    np.testing.assert_array_equal(render_textures(recipes[order.tolist()], size=32), together[order])


def test_threads_change_nothing() -> None:
    recipes, before = recipes_of(Textures(count=20, seed=7)), torch.get_num_threads()
    one = render_textures(recipes, size=32)
    try:
        torch.set_num_threads(2 if before == 1 else 1)
        np.testing.assert_array_equal(render_textures(recipes, size=32), one)
    finally:
        torch.set_num_threads(before)


def test_a_larger_picture_shows_the_same() -> None:
    recipes = recipes_of(Textures(count=30, seed=9))
    small = render_textures(recipes, size=32).astype(float)
    large = render_textures(recipes, size=128).astype(float).reshape(30, 32, 4, 32, 4, 3).mean((2, 4))
    other = np.roll(large, 2, 0)
    assert np.abs(small - large).mean() < 8
    assert np.abs(small - other).mean() > 40


def test_every_pattern_shows_all_its_colours() -> None:
    assert set(DRAWN) == set(GENERATORS)
    for generator in GENERATORS:
        pictures = render_textures(recipes_of(Textures(count=12, generators=(generator,), seed=3)), size=48)
        assert (pictures.std((1, 2)).max(1) > 4).all(), generator
