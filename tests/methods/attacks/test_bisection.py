"""Bisection to a boundary that is known."""

import pytest
import torch

from snellen.methods.attacks.hop_skip_jump import bisect, blend


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_ends_on_the_adversarial_side_within_the_tolerance(norm):
    clean, adversarial = torch.zeros(4, 3, 2, 2), torch.ones(4, 3, 2, 2)
    thresholds = torch.tensor([0.1, 0.5, 0.93, 0.0])
    asked = torch.zeros(4, dtype=torch.int64)

    def decide(candidates, rows):
        asked[rows] += 1
        return candidates.flatten(1).mean(1) >= thresholds[rows]

    found = bisect(
        clean, adversarial, decide, norm=norm, largest=torch.ones(4), tolerance=torch.tensor([1e-3, 1e-3, 1e-3, 0.3])
    )
    means = found.flatten(1).mean(1)
    assert (means >= thresholds).all()
    assert (means[:3] <= thresholds[:3] + 1e-3 + 1e-6).all()
    assert asked.tolist() == [10, 10, 10, 2]


def test_blend_in_linf_clips_the_change():
    clean, far = torch.full((1, 1, 1, 3), 0.5), torch.tensor([[[[0.0, 0.55, 1.0]]]])
    assert torch.allclose(blend(clean, far, torch.tensor([0.2]), norm="linf"), torch.tensor([[[[0.3, 0.55, 0.7]]]]))
