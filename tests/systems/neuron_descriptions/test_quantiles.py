"""Quantiles of streams: exact while they are short, near the truth when they are long, in memory that stays."""

import pytest
import torch

from snellen.core.errors import InputError
from snellen.systems.neuron_descriptions.quantiles import RunningQuantile


def fed(values, pieces, capacity=256):
    sketch = RunningQuantile(len(values), capacity=capacity)
    for piece in values.split(pieces, 1):
        sketch.add(piece)
    return sketch


def test_a_short_stream_is_exact_for_each_unit():
    values = torch.randn(3, 200, generator=torch.Generator().manual_seed(0))
    found = fed(values, 7).quantile(0.9)
    assert torch.equal(found, torch.quantile(values, 0.9, dim=1, interpolation="higher"))
    assert not torch.equal(found[:1], found[1:2])


def test_a_long_stream_is_near_the_truth_and_how_it_comes_changes_nothing():
    values = torch.randn(4, 40_000, generator=torch.Generator().manual_seed(1)).sort(1).values
    whole, bit_by_bit = fed(values, 40_000, 2048), fed(values, 333, 2048)
    found = whole.quantile(0.99)
    assert torch.equal(found, bit_by_bit.quantile(0.99))
    # Four standard deviations of the rank: a sorted stream is the hardest for it.
    above = (values > found[:, None]).double().mean(1)
    assert bool(((above - 0.01).abs() < 4 / 2048 * 1.5).all())


def test_memory_grows_with_the_logarithm_of_the_stream():
    values = torch.rand(2, 8_000, generator=torch.Generator().manual_seed(2))
    kept = [fed(values[:, :count], 500).kept for count in (2_000, 8_000)]
    assert max(kept) <= 256 * 6
    assert kept[1] <= kept[0] + 2 * 256


def test_what_cannot_be_sketched_is_reported():
    with pytest.raises(InputError, match="even capacity"):
        RunningQuantile(1, capacity=3)
    with pytest.raises(InputError, match="takes values"):
        RunningQuantile(2).add(torch.zeros(3, 4))
    with pytest.raises(InputError, match="at least one value"):
        RunningQuantile(1).quantile(0.5)
