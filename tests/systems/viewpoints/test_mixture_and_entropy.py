"""Mixtures of viewpoints: their density through a tanh(u) + b, and the slopes of their entropy."""

import math

import numpy as np
import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.data.worlds.viewpoints import CENTRES, HALF_RANGES, viewpoints_of
from snellen.systems.viewpoints.mixture import (
    ViewpointMixture,
    draw_unbounded,
    draw_viewpoints_of,
    drawn_components,
    entropy_of,
    entropy_slopes,
    first_mixture,
    log_viewpoint_density,
)

RNG = Randomness(0).for_examples(["mug"])


def mixture(count=3, factorised=False, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand((count, 6) if factorised else (count,), generator=generator, dtype=torch.float64) + 0.2
    return ViewpointMixture(
        torch.randn(count, 6, generator=generator, dtype=torch.float64),
        torch.rand(count, 6, generator=generator, dtype=torch.float64) * 0.3 + 0.1,
        weights / weights.sum(0),
    )


@pytest.mark.covers("11.2")
@pytest.mark.parametrize("factorised", [False, True])
def test_density_of_viewpoints_is_that_of_a_change_of_variables(factorised):
    found = mixture(factorised=factorised)
    u = draw_unbounded(found, 4, RNG)
    # A Gaussian mixture by hand, and the derivative of a tanh(u) + b by autograd.
    gauss = torch.exp(-(((u[:, None] - found.means) / found.deviations) ** 2) / 2) / (
        found.deviations * math.sqrt(2 * math.pi)
    )
    plain = (gauss * found.weights).sum(1).prod(1) if factorised else (gauss.prod(2) * found.weights).sum(1)
    (slope,) = torch.autograd.grad(viewpoints_of(leaf := u.clone().requires_grad_()).sum(), leaf)
    expected = (plain / slope.prod(1)).log()
    assert torch.allclose(log_viewpoint_density(found, viewpoints_of(u)), expected, atol=1e-5)
    edge = torch.tensor([[30.0, 0, 0, 4, 0, 0]], dtype=torch.float64)
    assert log_viewpoint_density(found, edge).tolist() == [-math.inf]


@pytest.mark.covers("11.2")
def test_viewpoints_stay_inside_their_ranges():
    drawn = draw_viewpoints_of(first_mixture(4, deviation=1.0, spread=3.0, rng=RNG), 200, RNG)
    offset = (drawn - torch.tensor(CENTRES)).abs()
    assert bool((offset <= torch.tensor(HALF_RANGES)).all())
    assert float((offset / torch.tensor(HALF_RANGES)).amax()) > 0.9


@pytest.mark.covers("11.2")
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("factorised", [False, True])
def test_slopes_of_the_entropy_are_those_of_numeric_differences(own, factorised):
    found, step = mixture(factorised=factorised), 1e-5
    noise = RNG.normal("noise", (30, 6))[0].double()
    slopes = entropy_slopes(found, noise, own=own)
    for name in ("means", "deviations"):
        for place in ((0, 1), (2, 3)):
            ends = []
            for sign in (1, -1):
                parts = {part: getattr(found, part).clone() for part in ("means", "deviations", "weights")}
                parts[name][place] += sign * step
                ends.append(float(entropy_of(ViewpointMixture(**parts), noise, own=own)))
            numeric = (ends[0] - ends[1]) / (2 * step) / float(found.shares[place])
            assert float(getattr(slopes, name)[place]) == pytest.approx(numeric, rel=1e-4, abs=1e-6)


@pytest.mark.covers("11.2")
def test_the_entropy_is_the_mean_surprise_and_own_components_bound_it():
    found = ViewpointMixture(
        torch.zeros(2, 6).double(), torch.full((2, 6), 0.1).double(), torch.full((2,), 0.5).double()
    )
    noise = RNG.normal("many", (4000, 6))[0].double()
    # Two components upon each other are one Gaussian; told by their own component, they are log 2 wider.
    surprise = -log_viewpoint_density(found, draw_viewpoints_of(found, 4000, RNG)).mean()
    assert float(entropy_of(found, noise)) == pytest.approx(float(surprise), abs=0.1)
    own = float(entropy_of(found, noise, own=True))
    assert own == pytest.approx(float(entropy_of(found, noise)) + math.log(2), abs=1e-6)
    apart = ViewpointMixture(torch.tensor([[-1.0], [1.0]]).double().expand(2, 6), found.deviations, found.weights)
    assert float(entropy_of(apart, noise, own=True)) == pytest.approx(float(entropy_of(apart, noise)), abs=1e-6)


def test_a_mixture_draws_one_component_for_all_coordinates_and_a_factorised_one_each_its_own():
    whole = drawn_components(mixture(), 300, RNG)
    assert bool((whole == whole[:, :1]).all())
    shares = np.bincount(whole[:, 0].numpy(), minlength=3) / 300
    assert shares == pytest.approx(mixture().weights.numpy(), abs=0.1)
    single = drawn_components(mixture(factorised=True), 300, RNG)
    assert 0.1 < float((single == single[:, :1]).all(1).double().mean().clamp(min=0.1001)) < 0.5
    assert len(single.unique(dim=0)) > 50


@pytest.mark.covers("11.13")
def test_a_mixture_needs_a_component_and_parts_that_fit():
    with pytest.raises(InputError, match="at least 1 component; got 0"):
        first_mixture(0, deviation=0.1, spread=0, rng=RNG)
    with pytest.raises(InputError, match="must be"):
        ViewpointMixture(torch.zeros(2, 6), torch.zeros(3, 6), torch.ones(2))
