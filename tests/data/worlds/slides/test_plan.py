"""Plans of slides: tissue, and tiles that carry tumour."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snellen.data.worlds.slides.plan import outline, positive_tiles, tissue_tiles


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**63 - 1), across=st.integers(4, 24), rate=st.floats(0.001, 1))
def test_tissue_and_tumour_of_any_slide(seed: int, across: int, rate: float) -> None:
    tissue = tissue_tiles(seed, tiles_across=across, tile_size=32)
    positive = positive_tiles(seed, tissue, rate=rate)
    assert tissue.any()
    assert positive.sum() == max(1, round(rate * tissue.sum()))
    assert not (positive & ~tissue).any()


def test_tissue_fills_a_fair_part_and_never_the_border() -> None:
    shares = []
    for seed in range(40):
        tissue = tissue_tiles(seed, tiles_across=16, tile_size=32)
        shares.append(tissue.mean())
        assert not tissue[[0, -1]].any()
        assert not tissue[:, [0, -1]].any()
    assert 0.15 < np.mean(shares) < 0.6
    assert min(shares) > 0.03


def test_tiles_are_tissue_where_at_least_half_of_them_is() -> None:
    """Judged at every pixel, another tile is called tissue only where about half of it is."""
    tissue = tissue_tiles(5, tiles_across=12, tile_size=32)
    places = 2 * torch.arange(12 * 32) + 1
    inside = outline(torch.tensor([5]), places[None, :, None], places[None, None], side=384)[0].numpy() > 0
    shares = inside.reshape(12, 32, 12, 32).mean((1, 3))
    clear = np.abs(shares - 0.5) > 0.15
    np.testing.assert_array_equal(tissue[clear], (shares >= 0.5)[clear])


def test_a_slide_of_any_size_has_the_same_outline() -> None:
    few, many = (tissue_tiles(9, tiles_across=across, tile_size=32) for across in (12, 24))
    pooled = many.reshape(12, 2, 12, 2).mean((1, 3))
    assert np.abs(pooled - few).mean() < 0.1


def test_positive_tiles_gather() -> None:
    """A positive tile has a positive neighbour far more often than a tile drawn at random would."""
    near = []
    for seed in range(20):
        positive = positive_tiles(seed, np.ones((24, 24), dtype=bool), rate=0.1)
        padded = np.pad(positive, 1)
        around = padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
        near.append(around[positive].mean())
    assert np.mean(near) > 0.5  # at random: 1 − 0.9⁴ = 0.34
