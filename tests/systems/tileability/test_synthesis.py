"""Textures by optimisation: the loss, the check at the seams, what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from snellen.core.errors import InputError, ModelError
from snellen.systems.tileability.synthesis import (
    TextureSynthesis,
    patches_of,
    seam_ratio,
    sliced_wasserstein,
    synthesize_texture,
)
from snellen.systems.tileability.tileability import Tileability

QUICK = TextureSynthesis(steps=30, projections=16, scales=2, tileability=0.05)


class Smooth(nn.Module):
    """A metric by hand: minus the jumps across the middle of the tiled picture, which are those at the seams."""

    def forward(self, pictures):
        middle = pictures.shape[2] // 2
        down = (pictures[:, :, middle] - pictures[:, :, middle - 1]).square().mean((1, 2))
        across = (pictures[..., middle] - pictures[..., middle - 1]).square().mean((1, 2))
        return 4 - 20 * (down + across)


@pytest.fixture
def ramp():
    torch.manual_seed(0)
    steps = torch.linspace(0.1, 0.9, 32)
    return (steps[:, None] * 0.5 + steps[None] * 0.5).expand(3, -1, -1).contiguous()


@pytest.mark.covers("21.10")
def test_the_metric_in_the_loss_mends_seams_and_the_texture_alone_does_not(ramp):
    guided = synthesize_texture(ramp, Tileability(Smooth(), 64), synthesis=QUICK)
    alone = synthesize_texture(ramp, None, synthesis=QUICK)
    assert guided.seam_ratio[0] == alone.seam_ratio[0] == seam_ratio(ramp) > 10
    assert guided.seam_ratio[1] < alone.seam_ratio[1] / 2
    assert alone.logit is None
    assert guided.logit is not None
    assert guided.image.min() >= 0
    assert guided.image.max() <= 1
    again = synthesize_texture(ramp, Tileability(Smooth(), 64), synthesis=QUICK)
    assert torch.equal(again.image, guided.image)


def test_the_example_stays_as_it_was(ramp):
    before = ramp.clone()
    synthesize_texture(ramp, None, synthesis=QUICK.model_copy(update={"steps": 2}))
    assert torch.equal(ramp, before)
    assert not ramp.requires_grad


def test_patches_and_their_distance(ramp):
    own = patches_of(ramp, 5)
    assert own.shape == (28 * 28, 75)
    directions = torch.randn(8, 75)
    assert sliced_wasserstein(own, own[torch.randperm(len(own))], directions).item() == pytest.approx(0, abs=1e-10)
    assert sliced_wasserstein(own, own * 0.5, directions) > 0
    assert sliced_wasserstein(own, own.repeat_interleave(2, 0), directions) < 1e-4, "sets of other sizes are compared"
    assert torch.allclose(
        sliced_wasserstein(own, own * 0.5, directions), sliced_wasserstein(own, own * 0.5, 3 * directions)
    ), "directions have length one"


def test_what_is_refused(ramp):
    for image, message in (
        (ramp[:, :20], "32 pixels or more"),
        (ramp.double(), "float32"),
        (ramp * 255, "divide bytes by 255"),
    ):
        with pytest.raises(InputError, match=message):
            synthesize_texture(image, None)
    with pytest.raises(InputError, match="smaller than a patch"):
        synthesize_texture(ramp, None, synthesis=TextureSynthesis(scales=4))

    class Broken(nn.Module):
        def forward(self, pictures):
            return pictures.mean((1, 2, 3)) * float("nan")

    with pytest.raises(ModelError, match="not finite"):
        synthesize_texture(ramp, Tileability(Broken(), 64), synthesis=QUICK)
