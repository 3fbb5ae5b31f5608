"""Balls around representations, and one change for all examples."""

import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.attacks.perturbation.open_balls import OpenL2Ball, OpenLinfBall
from snellen.methods.attacks.perturbation.projections import L2Ball, LinfBall
from snellen.methods.attacks.perturbation.shared_change import SharedChange

CLEAN = 5 * torch.randn(6, 4, 2, 1, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("ball", "boxed"), [(OpenLinfBall, LinfBall), (OpenL2Ball, L2Ball)])
def test_without_a_box_a_ball_is_that_of_pixels(ball, boxed):
    middle = CLEAN.sigmoid() * 0.2 + 0.4
    moved = middle + 0.3 * torch.randn(6, 4, 2, 1, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(ball(0.1).project(moved.clone(), middle), boxed(0.1).project(moved.clone(), middle))
    rng = Randomness(0).bind(6)
    assert torch.equal(ball(0.1).sample(middle, rng), boxed(0.1).sample(middle, rng))


@pytest.mark.parametrize("ball", [OpenLinfBall, OpenL2Ball])
def test_points_of_the_ball_stay_and_others_come_to_its_edge(ball):
    moved = CLEAN + 3 * torch.randn(6, 4, 2, 1, generator=torch.Generator().manual_seed(1))
    projected = ball(0.7).project(moved.clone(), CLEAN)
    assert ball(0.7).contains(projected, CLEAN).all()
    assert torch.allclose(ball(0.7).distance(projected, CLEAN), torch.full((6,), 0.7), atol=1e-5)
    assert torch.allclose(ball(0.7).project(projected.clone(), CLEAN), projected, atol=1e-6)
    assert not ball(0.6).contains(projected, CLEAN).any()
    assert ball(torch.inf).contains(moved, CLEAN).all()


@pytest.mark.parametrize("ball", [OpenLinfBall, OpenL2Ball])
def test_a_floor_is_kept_by_projection_and_start(ball):
    clean = CLEAN.relu()
    projected = ball(0.7, 0.0).project(clean - 2.0, clean)
    assert projected.min() == 0
    assert ball(0.7, 0.0).contains(projected, clean).all()
    start = ball(0.7, 0.0).sample(clean, Randomness(0).bind(6))
    assert start.min() >= 0
    assert ball(0.7, 0.0).contains(start, clean).all()
    assert ball(0.7).sample(clean, Randomness(0).bind(6)).min() < 0


def test_a_shared_change_is_one_and_its_box_is_that_of_the_candidates():
    clean = CLEAN.sigmoid()
    space, ball = SharedChange(low=0.0, high=1.0), OpenLinfBall(0.9)
    variables = space.encode(clean + 0.2, clean)
    assert torch.allclose(variables, torch.full_like(clean, 0.2), atol=1e-6)
    variables = space.constrain(variables + torch.arange(6.0).view(6, 1, 1, 1), clean, ball)
    assert space.change.shape == (1, 4, 2, 1)
    assert torch.equal(variables, torch.full_like(clean, 0.9))
    candidates = space.decode(variables, clean)
    assert candidates.max() == 1
    assert torch.allclose(candidates, (clean + 0.9).clamp(0, 1))
    with pytest.raises(InputError, match="at least one example"):
        space.encode(clean[:0], clean[:0])
