"""Draws by id: uniform, independent of company and order, nested in count."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from snellen.core.randomness import Randomness
from snellen.data.worlds.planting.planted_defect import choose_exactly, integer_by_id, uniform_by_id

IDS = [f"train/{index:06d}" for index in range(5000)]


def test_draws_are_uniform_and_streams_independent() -> None:
    first, second = (uniform_by_id(Randomness(3), IDS, stream) for stream in ("one", "other"))
    # Kolmogorov's bound at a level of 1e-6: sqrt(log(2 / 1e-6) / 2n).
    steps = np.arange(len(IDS) + 1) / len(IDS)
    distance = max(np.abs(np.sort(first) - steps[1:]).max(), np.abs(np.sort(first) - steps[:-1]).max())
    assert distance < np.sqrt(np.log(2e6) / (2 * len(IDS)))
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / np.sqrt(len(IDS))
    assert (first >= 0).all()
    assert (first < 1).all()


def test_draws_depend_on_seed_path_stream_and_id_alone() -> None:
    whole = uniform_by_id(Randomness(0), IDS, "noise")
    assert uniform_by_id(Randomness(0).for_examples(["x"]), IDS[7:9], "noise").tolist() == whole[7:9].tolist()
    for other in (Randomness(1), Randomness(0).child("a")):
        assert not np.isin(uniform_by_id(other, IDS, "noise"), whole).any()


def test_integers_reach_all_values_alike() -> None:
    counts = np.bincount(integer_by_id(Randomness(0), IDS, "pick", 4), minlength=4)
    assert len(counts) == 4
    assert np.abs(counts - 1250).max() < 5 * np.sqrt(5000 * 0.25 * 0.75)


@given(st.integers(0, 40), st.integers(0, 1000), st.integers(0, 5))
def test_exact_choices_ignore_order_and_grow(count: int, seed: int, order: int) -> None:
    ids, candidates = IDS[:60], np.arange(60) % 3 != 0
    chosen = choose_exactly(Randomness(seed), ids, "pick", candidates, count)
    assert chosen.sum() == min(count, 40)
    assert not (chosen & ~candidates).any()
    permutation = np.random.default_rng(order).permutation(60)
    moved = choose_exactly(Randomness(seed), [ids[p] for p in permutation], "pick", candidates[permutation], count)
    assert moved.tolist() == chosen[permutation].tolist()
    more = choose_exactly(Randomness(seed), ids, "pick", candidates, count + 3)
    assert not (chosen & ~more).any()
