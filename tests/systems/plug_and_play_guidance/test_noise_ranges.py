"""Ranges of noise: every timestep has one expert, and training draws from the range in which sampling asks."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.systems.plug_and_play_guidance.low_rank_experts import NoiseRanges


@pytest.mark.covers("12.1")
@given(timesteps=st.integers(1, 300), share=st.floats(0, 1))
def test_every_timestep_has_one_expert(timesteps, share):
    ranges = NoiseRanges(1 + int(share * (timesteps - 1)), timesteps)
    found = ranges.expert_of(torch.arange(timesteps)).tolist()
    covered = [expert for expert in range(ranges.experts) for _ in range(*ranges.bounds(expert))]
    assert found == covered, "ranges in order, without gap or overlap"
    assert set(found) == set(range(ranges.experts)), "no expert is without a timestep"


@pytest.mark.covers("12.1", "12.2")
def test_neighbours_across_a_bound_have_different_experts():
    ranges = NoiseRanges(5, 1000)
    assert [ranges.bounds(expert) for expert in range(5)] == [(0, 200), (200, 400), (400, 600), (600, 800), (800, 1000)]
    assert ranges.expert_of(torch.tensor([199, 200, 399, 400, 0, 999])).tolist() == [0, 1, 1, 2, 0, 4]
    assert ranges.expert_of(torch.tensor([199.9, 200.0])).tolist() == [0, 1]


@pytest.mark.covers("12.2")
def test_training_draws_the_timesteps_that_sampling_routes_to_the_expert():
    ranges = NoiseRanges(3, 10)
    for expert in range(3):
        rng = Randomness(1).for_examples([str(number) for number in range(200)])
        drawn = ranges.draw(expert, rng, like=torch.zeros(1))
        assert set(drawn.tolist()) == set(range(*ranges.bounds(expert)))
        assert (ranges.expert_of(drawn) == expert).all()


@pytest.mark.parametrize(("experts", "timesteps"), [(0, 10), (-1, 10), (11, 10)])
def test_more_experts_than_timesteps_are_refused(experts, timesteps):
    with pytest.raises(InputError, match="there are 1 to 10 experts"):
        NoiseRanges(experts, timesteps)


def test_what_is_outside_is_refused():
    ranges = NoiseRanges(2, 10)
    with pytest.raises(InputError, match=r"timesteps lie in \[0, 10\); got \[10\]"):
        ranges.expert_of(torch.tensor([10]))
    with pytest.raises(InputError, match="lie in"):
        ranges.expert_of(torch.tensor([-1.0]))
    with pytest.raises(InputError, match="numbered 0 to 1"):
        ranges.bounds(2)
