"""β by self-normalised importance sampling: an analytic case, effective sample size, and what cannot be reached."""

import math

import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.systems.distributional_control.controlling import moments_of
from snellen.systems.distributional_control.divergence import (
    Variety,
    decided,
    divergence,
    nearest_distance,
    variety,
)
from snellen.systems.distributional_control.moment_constraint import (
    effective_size,
    fit_moments,
    wanted_moments,
    weights_of,
)
from tests.systems.distributional_control.analytic import painted, threshold


def above(bound):
    """P(z > bound) of a standard normal."""
    return 0.5 * math.erfc(bound / math.sqrt(2))


@pytest.mark.covers("28.5")
def test_beta_of_a_threshold_is_that_of_the_closed_form():
    # With γ in {0, 1} and rate r the tilt that gives μ has β_1 − β_0 = log(μ (1 − r) / ((1 − μ) r)).
    latents = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    is_above = (latents > 1.0).double()
    gamma = torch.stack([1 - is_above, is_above], 1)
    found = fit_moments(gamma, torch.tensor([0.4, 0.6]))
    rate = above(1.0)
    assert found.beta[1] - found.beta[0] == pytest.approx(math.log(0.6 * (1 - rate) / (0.4 * rate)), abs=0.06)
    assert found.reached == pytest.approx((0.4, 0.6), abs=1e-3)
    assert sum(found.beta) == pytest.approx(0, abs=1e-6)
    # ESS of two weights: n / Σ (share² / rate).
    assert found.effective == pytest.approx(20_000 / (0.36 / rate + 0.16 / (1 - rate)), rel=0.05)


@pytest.mark.covers("28.5")
def test_beta_is_fitted_without_a_gradient_through_the_generator(monkeypatch):
    generator, classifier = painted(), threshold(1.0)
    seen = []
    own = generator.decoder.forward
    monkeypatch.setattr(generator.decoder, "forward", lambda z: seen.append(torch.is_grad_enabled()) or own(z))
    gamma = moments_of(generator, classifier, 3000, Randomness(0), 1.0)
    assert seen
    assert not any(seen)
    assert not gamma.requires_grad
    calls = len(seen)
    found = fit_moments(gamma, torch.tensor([0.5, 0.5]))
    assert len(seen) == calls, "β is fitted to the cached moments alone"
    assert found.reached == pytest.approx((0.5, 0.5), abs=1e-3)
    assert found.samples == 3000
    assert 10 < found.effective < 3000


def test_weights_are_normalised_and_their_size_is_reported():
    gamma = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    weights = weights_of(gamma, torch.tensor([1.0, -1.0]))
    assert float(weights.sum()) == pytest.approx(1)
    assert torch.allclose(weights, torch.tensor([1.0, -1.0, 0.0]).double().softmax(0))
    assert effective_size(torch.ones(7)) == pytest.approx(7)


def test_shares_that_the_generator_never_draws_are_refused_with_the_effective_sample_size():
    never = torch.tensor([[1.0, 0.0]] * 200)
    with pytest.raises(InputError, match=r"'ring' has 0\.000%.*50\.0% are wanted.*effective sample size of"):
        fit_moments(never, torch.tensor([0.5, 0.5]), names=("star", "ring"))
    rarely = torch.cat([never, torch.tensor([[0.0, 1.0]] * 2)])
    with pytest.raises(InputError, match=r"effective sample size of [1-9]\.\d of 202"):
        fit_moments(rarely, torch.tensor([0.1, 0.9]), names=("star", "ring"))


def test_a_share_of_nothing_keeps_beta_small():
    gamma = torch.softmax(4 * torch.randn(4096, 3, generator=torch.Generator().manual_seed(0)), 1)
    found = fit_moments(gamma, torch.tensor([0.5, 0.0, 0.5]))
    assert max(abs(one) for one in found.beta) < 20
    assert found.reached == pytest.approx((0.495, 0.01, 0.495), abs=2e-3)
    # Where the generator hardly draws the class, nothing is raised to the floor.
    rare = torch.cat([gamma[:, :2] / gamma[:, :2].sum(1, keepdim=True), torch.full((4096, 1), 1e-6)], 1)
    found = fit_moments(rare / rare.sum(1, keepdim=True), torch.tensor([0.5, 0.5, 0.0]))
    assert max(abs(one) for one in found.beta) < 50
    assert found.reached[2] < 1e-4
    with pytest.raises(InputError, match=r"a share of 0\.10% for 'green' needs β of -\d+, and at most 50"):
        fit_moments(gamma, torch.tensor([0.5, 0.001, 0.499]), names=("red", "green", "blue"))


@pytest.mark.parametrize(
    ("shares", "message"),
    [([0.5, 0.6], "sum to 1"), ([-0.1, 1.1], "at least 0"), ([0.2, 0.3, 0.5], "each of the 2"), ([math.nan, 1], "sum")],
)
def test_shares_outside_the_simplex_are_refused(shares, message):
    with pytest.raises(InputError, match=message):
        wanted_moments(torch.tensor(shares), 2)


@pytest.mark.covers("28.10")
def test_an_empty_bin_counts_zero():
    assert divergence([10, 10, 0]) == pytest.approx(math.log(3) - math.log(2))
    assert divergence([70, 20, 10]) == pytest.approx(math.log(3) - 0.8018, abs=1e-3)
    assert divergence([1, 1, 0], [0.5, 0.5, 0.0]) == pytest.approx(0, abs=1e-12)
    assert divergence([1, 1, 1], [0.5, 0.5, 0.0]) == math.inf
    with pytest.raises(InputError, match="one image at least"):
        divergence([0, 0])


@pytest.mark.covers("28.11")
def test_attributes_are_decided_at_half_of_the_probability():
    logits = torch.tensor([[0.4, -0.1, 0.6]])  # the published evaluation wanted a logit above 0.5
    assert decided(logits.sigmoid()).tolist() == [[True, False, True]]
    with pytest.raises(InputError, match="take their sigmoid"):
        decided(logits)


@pytest.mark.covers("28.6")
def test_a_collapse_is_seen_where_shares_are_perfect():
    own = torch.rand(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    two_images = own[:2].repeat(32, 1, 1, 1) + 1e-4 * own
    collapsed = variety(two_images, own, torch.full((64,), -40.0), 8)
    assert divergence([32, 32]) == 0
    assert collapsed.nearest < 0.01
    assert collapsed.entropy == pytest.approx(-5)
    assert "collapsed to few images" in collapsed.warning
    fine = variety(own.flip(0), own, torch.zeros(64), 8)
    assert fine == Variety(pytest.approx(1.0), 0.0)
    assert fine.warning is None
    assert "collapsed" in Variety(1.0, -2.0).warning


def test_exact_copies_lie_at_no_distance():
    one = torch.rand(1, 3, 32, 32)
    assert nearest_distance(one.repeat(3, 1, 1, 1)) == 0
