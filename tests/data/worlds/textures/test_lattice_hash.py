"""Random values of lattices: pure, even and independent between streams and halves of seeds."""

from __future__ import annotations

import numpy as np
import torch

from snellen.data.worlds.textures.patterns import lattice_values, seed_values, stream_state


def test_values_are_even_and_independent() -> None:
    numbers = torch.arange(20_000)
    rows = [
        lattice_values(stream_state(torch.tensor([seed]), stream), numbers).numpy()
        for seed, stream in ((0, "a"), (0, "b"), (1, "a"), (2**32, "a"), (2**62, "a"))
    ]
    rows.append(lattice_values(stream_state(torch.tensor([0]), "a"), numbers, numbers * 0 + 1).numpy())
    for row in rows:
        assert row.dtype == np.float32
        assert 0 <= row.min() <= row.max() < 1
        counts = np.histogram(row, 20, (0, 1))[0]
        assert ((counts - 1000) ** 2 / 1000).sum() < 60  # χ² of 19 degrees: 43.8 at 0.1 %
    assert np.abs(np.corrcoef(rows) - np.eye(len(rows))).max() < 4.5 / 20_000**0.5


def test_seeds_that_agree_in_one_stream_differ_in_the_others() -> None:
    """The two halves of a seed are mixed after the stream: exchanging or folding them is another seed."""
    seeds = torch.tensor([3 + 7 * 2**32, 7 + 3 * 2**32, 4, 0, 2**62 + 4])
    values = seed_values(seeds, "a", 4)
    assert len(np.unique(values.numpy(), axis=0)) == 5
    assert not torch.equal(values, seed_values(seeds, "b", 4))
    assert torch.equal(values[2:3], seed_values(seeds[2:3], "a", 4))
