"""Fog: the published fractal and formula on the same draws, the peer's figures, the contract."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from snellen.core.randomness import Randomness
from snellen.methods.corruptions.weather import fog, plasma_fractal
from tests.methods.corruptions.weather import deviations, distances, keeps_the_contract, published


def diamond_square(draws: NDArray[np.float64], side: int, decay: float) -> NDArray[np.float64]:
    """The published algorithm, point by point."""
    heights = np.zeros((side, side))
    draw = iter(draws)

    def mean(points: list[tuple[int, int]], wibble: float) -> float:
        return sum(heights[row % side, column % side] for row, column in points) / 4 + wibble**2 * next(draw)

    step, wibble = side, 100.0
    while step >= 2:
        half = step // 2

        corners = [(row, column) for row in range(0, side, step) for column in range(0, side, step)]
        for row, column in corners:
            around = [(row, column), (row + step, column), (row, column + step), (row + step, column + step)]
            heights[row + half, column + half] = mean(around, wibble)
        for below, beside in ((0, half), (half, 0)):
            for row, column in corners:
                middle, across = row + below, column + beside
                diamond = [(middle - half, across), (middle + half, across), (middle, across - half)]
                heights[middle, across] = mean([*diamond, (middle, across + half)], wibble)
        step, wibble = half, wibble / decay
    heights -= heights.min()
    return heights / heights.max()


@pytest.mark.parametrize(("side", "decay"), [(2, 2.0), (4, 1.4), (32, 1.75), (64, 2.0), (32, 3.0)])
def test_fractal_is_the_published_one(side: int, decay: float) -> None:
    draws = torch.rand(2, side**2 - 1, generator=torch.Generator().manual_seed(side)) * 2 - 1
    ours = plasma_fractal(draws, decay)
    expected = np.stack([diamond_square(row, side, decay) for row in draws.double().numpy()])
    np.testing.assert_allclose(ours, expected, atol=2e-6)


def test_fractal_of_one_point_has_no_height() -> None:
    assert plasma_fractal(torch.empty(2, 0), 2.0).tolist() == [[[0.0]], [[0.0]]]


@pytest.mark.parametrize(("height", "width", "side"), [(20, 33, 64), (32, 7, 32)])
def test_formula(height: int, width: int, side: int) -> None:
    images = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1)) * 0.9
    rng = Randomness(0).bind(2)
    fractal = plasma_fractal(rng.uniform("plasma", (side**2 - 1,), -1, 1), 1.7)[:, None, :height, :width]
    for row in range(2):
        brightest = images[row].max()
        expected = (images[row] + 2.5 * fractal[row]) * brightest / (brightest + 2.5)
        torch.testing.assert_close(fog(images, rng, amount=2.5, decay=1.7)[row], expected)


def test_figures_are_the_peers() -> None:
    differences, errors = deviations(fog, 48)
    assert np.all(np.abs(differences) < 4 * errors)
    assert np.all(errors[:, 8:] < 0.02)  # the spectrum is told to 5 %


def test_contract() -> None:
    keeps_the_contract(fog, published("fog") + published("fog", "small") + [{"amount": 0.13, "decay": 2.22}])


def test_no_amount_is_the_identity_and_more_changes_more() -> None:
    images = torch.rand(2, 3, 9, 14)
    images[1] = 0  # black stays black
    torch.testing.assert_close(fog(images, Randomness(0).bind(2), amount=0.0, decay=2.0), images)
    assert not fog(images, Randomness(0).bind(2), amount=3.0, decay=2.0)[1].any()
    grown = distances(fog, [{"amount": amount, "decay": 2.0} for amount in (0.1, 0.5, 1.5, 2.0, 3.0)])
    assert grown == sorted(grown)
