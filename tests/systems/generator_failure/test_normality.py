"""Tests of normality hold their level, see what they should, and the projection gives likely latents."""

import pytest
import torch

from snellen.core.errors import InputError
from snellen.systems.generator_failure.normality import non_gaussian_rate, normality, penalty, project


def draw(seed, shape=(8, 8, 8)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_draws_of_the_prior_are_rejected_at_the_level_of_the_test():
    rate = non_gaussian_rate([normality(draw(seed)) for seed in range(300)])
    assert 0.005 < rate < 0.09


@pytest.mark.parametrize(
    "changed",
    [
        lambda z: z * 1.15,
        lambda z: z + 0.2,
        lambda z: z.sign(),
        lambda z: (z + torch.roll(z, 1, -1)) / 2**0.5,  # neighbours alike, moments as they should be
    ],
)
def test_what_the_prior_does_not_draw_is_rejected(changed):
    assert normality(changed(draw(0))).rejected


def test_moments_are_those_of_the_numbers():
    found = normality(torch.cat([torch.full((50,), 1.0), torch.full((50,), -1.0)]))
    assert (found.norm, found.mean, found.std) == pytest.approx((1.0, 0.0, 1.0))
    assert found.kurtosis == pytest.approx(-2.0)
    assert found.neighbours == 0.0  # a vector has none


def test_the_penalty_is_zero_at_the_moments_of_the_prior_and_pulls_back():
    drawn = draw(1)[None]
    inside = (drawn - drawn.mean()) / drawn.std(correction=0)
    assert penalty(inside).item() == pytest.approx(0.0, abs=1e-9)
    far = (2 * inside + 1).requires_grad_(True)
    (gradient,) = torch.autograd.grad(penalty(far).sum(), far)
    assert penalty(far - 10 * gradient).item() < penalty(far).item()


def test_the_projection_holds_the_norm_alone_and_does_nothing_twice():
    far = 3 * draw(2)[None] + 0.5
    latents = project(far)
    assert latents.norm().item() == pytest.approx(512**0.5 + 3 / 2**0.5, rel=1e-5)
    torch.testing.assert_close(latents / latents.norm(), far / far.norm())
    torch.testing.assert_close(project(latents), latents)
    shifted = project(draw(3)[None] + 0.05).requires_grad_(True)  # what is left to the penalty
    (gradient,) = torch.autograd.grad(penalty(shifted).sum(), shifted)
    assert gradient.abs().max() > 1e-5


def test_the_level_holds_for_projected_draws_of_the_prior():
    """Their null is N(0, I), as for draws that were not projected."""
    raw = [draw(seed) for seed in range(300)]
    projected = [project(one[None])[0] for one in raw]
    rates = [non_gaussian_rate([normality(one) for one in latents]) for latents in (raw, projected)]
    assert 0.01 < rates[1] < 0.09
    assert abs(rates[0] - rates[1]) < 0.02


def test_what_is_no_latent_is_refused():
    with pytest.raises(InputError, match="at least 8 finite numbers"):
        normality(torch.tensor([1.0, 2.0]))
    with pytest.raises(InputError, match="at least 8 finite numbers"):
        normality(torch.full((20,), torch.nan))
    assert non_gaussian_rate([]) is None
