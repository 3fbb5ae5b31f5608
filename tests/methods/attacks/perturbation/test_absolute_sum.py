"""The L1 set: its distance is a sum, and what it projects lies inside."""

import torch

from snellen.core.randomness import Randomness
from snellen.methods.attacks.perturbation.absolute_sum import AbsoluteSum


def test_distance_is_the_sum_of_absolute_changes():
    images = torch.rand(4, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    candidates = torch.rand(4, 3, 5, 6, generator=torch.Generator().manual_seed(1))
    expected = torch.stack([(one - other).abs().sum() for one, other in zip(candidates, images, strict=True)])
    assert torch.allclose(AbsoluteSum().distance(candidates, images), expected, atol=1e-4)


def test_projections_lie_inside_and_what_is_inside_stays():
    images = torch.rand(4, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    candidates = images + torch.randn(4, 3, 5, 6, generator=torch.Generator().manual_seed(1))
    allowed = AbsoluteSum(3.0)
    projected = allowed.project(candidates, images)
    assert (allowed.distance(projected, images) <= 3 + 1e-4).all()
    assert projected.min() >= 0
    assert projected.max() <= 1
    near = (images + 0.01).clamp(0, 1)
    assert torch.equal(allowed.project(near, images), near) or torch.allclose(allowed.project(near, images), near)
    assert not allowed.contains(candidates, images).any()
    assert torch.equal(allowed.sample(images, Randomness(0)), images)
