import math

import pytest
import torch

from snellen.data.worlds.optotypes.lattice_noise import gaussian_grain, grain, mixed, smooth, stream_seeds, uniform

SEEDS = torch.tensor([0, 1, 2**62 + 5, 2**40])


def test_the_hash_is_the_published_one():
    # lowbias32 of 0 … 3, computed with unbounded integers.
    def reference(x):
        x ^= x >> 16
        x = x * 0x7FEB352D % 2**32
        x ^= x >> 15
        x = x * 0x846CA68B % 2**32
        return x ^ (x >> 16)

    values = torch.tensor([0, 1, 2, 3, -1, -(2**31), 2**31 - 1], dtype=torch.int32)
    expected = [reference(v % 2**32) for v in values.tolist()]
    assert [v % 2**32 for v in mixed(values).tolist()] == expected


def test_values_are_uniform_and_unrelated():
    values = grain(torch.arange(8), "test", 128, 128)
    assert values.mean().item() == pytest.approx(0.5, abs=3 / math.sqrt(12 * values.numel()))
    counts = torch.histc(values, 16, 0, 1)
    expected = values.numel() / 16
    assert ((counts - expected) ** 2 / expected).sum().item() < 37.7  # 99.9 % of chi-squared with 15 degrees
    flat = values.flatten(1) - 0.5
    correlations = torch.corrcoef(flat) - torch.eye(8)
    assert correlations.abs().max().item() < 4.5 / 128
    for moved in (values.roll(1, 1), values.roll(1, 2)):
        assert torch.corrcoef(torch.stack([values.flatten(), moved.flatten()]))[0, 1].abs() < 0.02


def test_streams_and_seeds_differ():
    assert len({*stream_seeds(SEEDS, "a").tolist(), *stream_seeds(SEEDS, "b").tolist()}) == 2 * len(SEEDS)
    assert not torch.equal(uniform(SEEDS, "a", 4), uniform(SEEDS, "b", 4))


def test_gaussian_grain_has_the_moments_of_a_normal_distribution():
    values = gaussian_grain(torch.arange(4), "test", 200, 200)
    assert torch.isfinite(values).all()
    assert values.mean().item() == pytest.approx(0, abs=0.01)
    assert values.std().item() == pytest.approx(1, abs=0.01)
    assert (values**4).mean().item() == pytest.approx(3, abs=0.1)


def test_smooth_noise_is_the_same_pattern_at_every_size():
    fine, coarse = smooth(SEEDS, "s", 256, 0.5), smooth(SEEDS, "s", 32, 0.5)
    averaged = torch.nn.functional.avg_pool2d(fine, 8)
    assert (averaged - coarse).abs().max().item() < 0.02


def test_each_seed_is_alone():
    for draw in (lambda seeds: smooth(seeds, "s", 33, 0.3), lambda seeds: uniform(seeds, "u", 5)):
        assert torch.equal(draw(SEEDS)[2], draw(SEEDS[2:3])[0])
