"""Broken maps: what they do to the square, and that a pattern never survives by chance."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from snellen.data.worlds.textures.breaking import GEOMETRIC, Failure, moved, twists

SEEDS = torch.arange(300) * 7919
FREQUENCY = torch.tensor([[[5, 2], [-2, 5]], [[4, 0], [0, 4]], [[7, -3], [3, 7]]]).repeat(100, 1, 1)


@pytest.mark.parametrize("failure", GEOMETRIC)
def test_both_coordinates_of_a_pattern_miss_themselves(failure: Failure) -> None:
    maps = twists(SEEDS, FREQUENCY, failure).double()
    along = torch.linspace(0, 1, 33).double().expand(300, 1, -1)
    missed = []
    for axis in (0, 1):
        ends = [(torch.full_like(along, end), along)[:: 1 - 2 * axis] for end in (0.0, 1.0)]
        near, far = (torch.stack([side[:, 0] for side in moved(maps, *end)], 1) for end in ends)
        phase = FREQUENCY.double() @ (far - near)
        missed.append((phase - phase.round()).abs().mean(2).numpy())
    # Of the two seams the worse one, for each of the two coordinates of the pattern; in periods, at most a half.
    assert np.max(missed, 0).min() > 0.12


def test_kinds_are_what_they_are_called() -> None:
    crop, rotation, shear, perspective = (twists(SEEDS, FREQUENCY, failure).numpy() for failure in GEOMETRIC)
    linear = crop[:, :2, :2]
    assert (linear[:, 0, 0] == linear[:, 1, 1]).all()
    assert 0.7 < linear[:, 0, 0].min() <= linear[:, 0, 0].max() < 0.96
    turned = rotation[:, :2, :2]
    np.testing.assert_allclose(turned @ turned.transpose(0, 2, 1), np.tile(np.eye(2), (300, 1, 1)), atol=1e-6)
    degrees = np.degrees(np.arctan2(turned[:, 1, 0], turned[:, 0, 0]))
    assert 5 < np.abs(degrees).min() <= np.abs(degrees).max() < 20.1
    assert 0.2 < (degrees > 0).mean() < 0.8
    slants = np.abs(shear[:, [0, 1], [1, 0]])
    assert 0.1 <= slants.min() <= slants.max() <= 0.3
    assert (shear[:, [0, 1], [0, 1]] == 1).all()
    assert (np.abs(perspective[:, 2, :2]) >= 0.15).all()
    assert (np.abs(perspective[:, 2, :2]) <= 0.4).all()


@pytest.mark.parametrize("failure", GEOMETRIC)
def test_the_middle_stays_and_rows_are_independent(failure: Failure) -> None:
    maps = twists(SEEDS, FREQUENCY, failure)
    middle = torch.full((300, 1, 1), 0.5)
    np.testing.assert_allclose(torch.stack(moved(maps, middle, middle)).numpy(), 0.5, atol=1e-6)
    assert torch.equal(twists(SEEDS[17:18], FREQUENCY[17:18], failure), maps[17:18])
