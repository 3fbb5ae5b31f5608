"""Noise over a plane: values at lattice points, smooth between, the same far out."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snellen.data.worlds.slides.plan import cell_and_share, plane_noise, region_of, smooth_step


def test_centres_of_pixels() -> None:
    region = region_of(torch.tensor([1, 2]), level=0, tops=[0, 5], lefts=[3, 0], height=2, width=3)
    assert region.rows[:, :, 0].tolist() == [[1, 3], [11, 13]]
    assert region.columns[:, 0].tolist() == [[7, 9, 11], [1, 3, 5]]
    assert region_of(torch.tensor([1]), level=3, tops=[0], lefts=[0], height=1, width=1).rows.item() == 8


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**62), place=st.integers(-(2**33), 2**33), spacing=st.integers(2, 500))
def test_smooth_and_within_bounds_however_far_out(seed: int, place: int, spacing: int) -> None:
    rows = (place + torch.arange(-20, 21))[None, :, None]
    values = plane_noise(torch.tensor([seed]), "test", rows, rows.transpose(1, 2), (spacing, spacing))
    assert values.min() >= 0
    assert values.max() <= 1
    # 3t² − 2t³ rises by at most 1.5 a cell, and a step is half a pixel.
    assert values.diff(dim=1).abs().max() <= 0.75 / spacing + 1e-5


def test_noise_is_uncorrelated_between_streams_seeds_and_cells() -> None:
    places = (torch.arange(4000) * 20)[None, :, None]
    corner = torch.zeros(1, 1, 1, dtype=torch.int64)
    values = [
        plane_noise(torch.tensor([seed]), stream, places, corner, (10, 10)).flatten().numpy()
        for seed, stream in ((1, "a"), (1, "b"), (2, "a"), (1 + 2**40, "a"))
    ]
    values.append(np.roll(values[0], 1))
    correlations = np.corrcoef(values) - np.eye(5)
    assert np.abs(correlations).max() < 4 / 4000**0.5
    assert np.abs(np.histogram(values[0], 10, (0, 1))[0] - 400).max() < 5 * 400**0.5


def test_cells_and_shares_of_negative_places() -> None:
    cells, shares = cell_and_share(torch.tensor([-1, 0, 19, 20]), 10)
    assert cells.tolist() == [-1, 0, 0, 1]
    assert shares.tolist() == [np.float32(0.95), 0, np.float32(0.95), 0]
    assert smooth_step(torch.tensor([0.0, 1.0, 2.0, 5.0]), 0, 2).tolist() == [0, 0.5, 1, 1]
