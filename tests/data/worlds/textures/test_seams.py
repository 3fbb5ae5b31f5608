"""The ratio of seams: by hand, at its limits, and over the set whose truth is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from snellen.core.errors import InputError
from snellen.data.worlds.textures.breaking import FAILURES, seam_energy_ratio
from snellen.data.worlds.textures.textures import Textures


def by_hand(image: np.ndarray) -> float:
    height, width = image.shape[:2]
    values = image.reshape(height, width, -1).astype(int)
    seams, inside = [[], []], [[], []]
    for row in range(height):
        for column in range(width):
            across = np.abs(values[row, (column + 1) % width] - values[row, column]).mean()
            down = np.abs(values[(row + 1) % height, column] - values[row, column]).mean()
            (seams if column == width - 1 else inside)[0].append(across)
            (seams if row == height - 1 else inside)[1].append(down)
    return (np.mean(seams[0]) + np.mean(seams[1])) / (np.mean(inside[0]) + np.mean(inside[1]))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(2, 9), width=st.integers(2, 9), channels=st.integers(0, 3))
def test_the_ratio_is_that_of_the_formula(seed: int, height: int, width: int, channels: int) -> None:
    shape = (3, height, width) + ((channels,) if channels else ())
    images = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    expected = [by_hand(image) for image in images]
    np.testing.assert_allclose(seam_energy_ratio(images), expected, rtol=1e-12)


def test_limits() -> None:
    assert seam_energy_ratio(np.full((2, 5, 5, 3), 9, dtype=np.uint8)).tolist() == [1, 1]
    assert seam_energy_ratio(np.zeros((0, 5, 5, 3), dtype=np.uint8)).shape == (0,)
    half = np.repeat(np.array([0, 255], dtype=np.uint8), 8)[None, None].repeat(16, 1)
    assert seam_energy_ratio(half).tolist() == [15.0]  # two jumps in all: one inside in 15, one on the seam


def test_a_seamless_texture_averages_to_one_over_all_shifts() -> None:
    """Rolled to each of its places, the seam meets every gradient once."""
    image = np.asarray(Textures(count=1, size=32, seed=4).images().read(0))
    rolled = [
        np.roll(image, (row, column), (0, 1)) for row in range(32) for column in range(0, 32, 1 if row == 0 else 4)
    ]
    ratios = seam_energy_ratio(np.stack(rolled))
    assert abs(ratios.mean() - 1) < 0.1
    rows = seam_energy_ratio(np.stack([np.roll(image, (row, row), (0, 1)) for row in range(32)]))
    assert abs(rows.mean() - 1) < 0.03


def test_many_images_are_read_in_parts() -> None:
    images = np.random.default_rng(0).integers(0, 256, (600, 8, 8), dtype=np.uint8)
    np.testing.assert_array_equal(seam_energy_ratio(images)[590:], seam_energy_ratio(images[590:]))


def test_what_is_no_image_is_refused() -> None:
    for wrong in (np.zeros((2, 5, 5, 3)), np.zeros((5, 5), np.uint8), np.zeros((2, 1, 5), np.uint8)):
        with pytest.raises(InputError, match=r"images: got .*; expected uint8 \(n, h, w\)"):
            seam_energy_ratio(wrong)


def test_ratios_over_the_set() -> None:
    """Tileable: 1 within an interval. Broken: above it, except for the spot, which no seam shows."""
    textures = Textures(count=700, size=32, seed=1).images()
    ratios = seam_energy_ratio(np.stack([np.asarray(textures.read(index)) for index in range(len(textures))]))
    failures = np.array([json.loads(str(text))["failure"] or "" for text in textures.column("attributes")])
    whole = ratios[failures == ""]
    assert abs(whole.mean() - 1) < 3 * whole.std() / len(whole) ** 0.5 + 0.02
    areas = {}
    for failure in FAILURES:
        broken = ratios[failures == failure]
        assert len(broken) > 30
        areas[failure] = roc_auc_score(np.repeat([0, 1], [len(whole), len(broken)]), np.append(whole, broken))
    # Measured over 1500 textures of 32 pixels: blob 0.57, the others 0.88 to 0.98 (0.97 to 0.99 of 64 pixels).
    assert 0.45 < areas["blob"] < 0.65
    assert min(areas[failure] for failure in FAILURES if failure != "blob") > 0.82
    assert min(np.median(ratios[failures == failure]) for failure in FAILURES if failure != "blob") > 1.4
