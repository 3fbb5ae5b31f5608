"""Norm balls: closed forms and properties."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snellen.core.randomness import Randomness
from snellen.methods.attacks.perturbation.projections import L2Ball, LinfBall, l2_norm

BALLS = [LinfBall, L2Ball]


@pytest.mark.parametrize("ball", BALLS)
@given(epsilon=st.floats(0, 2), seed=st.integers(0, 1000))
def test_projection_is_inside_and_idempotent_and_leaves_the_inside_alone(ball, epsilon, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(3, 3, 4, 5, generator=generator)
    candidates = images + torch.randn(3, 3, 4, 5, generator=generator)
    before = candidates.clone()
    allowed = ball(epsilon)
    projected = allowed.project(candidates, images)
    assert torch.equal(candidates, before), "the input is not changed"
    assert (allowed.distance(projected, images) <= epsilon + 1e-5).all()
    assert projected.min() >= 0
    assert projected.max() <= 1
    assert torch.allclose(allowed.project(projected, images), projected, atol=1e-6)
    assert allowed.contains(projected, images).all()


@pytest.mark.parametrize("ball", BALLS)
def test_samples_lie_inside_and_depend_on_the_example_only(ball):
    images = torch.full((200, 3, 4, 4), 0.5)
    rng = Randomness(0).for_examples([f"{i}" for i in range(200)])
    samples = ball(0.3).sample(images, rng)
    distance = ball(0.3).distance(samples, images)
    assert (distance <= 0.3 + 1e-6).all()
    assert distance.max() > 0.29, "samples reach the border of the ball"
    assert torch.equal(ball(0.3).sample(images[[7]], rng[[7]])[0], samples[7])
    assert not torch.equal(samples[0], samples[1])


@pytest.mark.parametrize("ball", BALLS)
def test_contains_is_the_distance_at_most_epsilon(ball):
    images = torch.full((3, 3, 4, 4), 0.5)
    candidates = images.clone()
    candidates[1, 0, 0, 0] += 0.1
    candidates[2, 0, 0, 0] += 0.1002
    assert ball(0.1).contains(candidates, images).tolist() == [True, True, False]
    assert ball(0.0).contains(candidates, images).tolist() == [True, False, False]
    assert ball(float("inf")).contains(candidates, images).all()


@pytest.mark.parametrize("epsilon", [0.5, 3.0, 30.0])
def test_rounding_does_not_carry_large_images_out_of_the_ball(epsilon):
    generator = torch.Generator().manual_seed(0)
    images = 0.4 + 0.2 * torch.rand(2, 3, 512, 512, generator=generator)
    far = images + torch.randn(images.shape, generator=generator) * (epsilon / 100)
    assert L2Ball(epsilon).contains(L2Ball(epsilon).project(far, images), images).all()


def test_linf_samples_are_uniform():
    images = torch.full((50, 3, 20, 20), 0.5)
    noise = (LinfBall(0.2).sample(images, Randomness(0).bind(50)) - 0.5).flatten()
    assert abs(float(noise.mean())) < 0.002
    assert abs(float(noise.std()) - 0.2 / 3**0.5) < 0.002


def test_l2_projection_scales_to_the_sphere():
    images = torch.full((1, 3, 2, 2), 0.5)
    change = torch.zeros_like(images)
    change[0, 0, 0, 0], change[0, 1, 0, 0] = 0.3, 0.4
    projected = L2Ball(0.25).project(images + change, images)
    assert torch.allclose(projected - images, change / 2, atol=1e-7)
    assert torch.allclose(l2_norm(projected - images), torch.tensor(0.25))
