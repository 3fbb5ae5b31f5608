"""A bank of views: each view is of its own image, of the right kind, and follows from the randomness of the step."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from snellen.core.randomness import Randomness
from snellen.reproduction.multiple_instance.view_bank import BankEncoder, ViewBank

SIDE, SHOWN = 2, 5
KINDS = {"weak": 3, "strong": 2}


def view(rows: Tensor, rng: Randomness, name: str) -> Tensor:
    """The image with its first number told apart by kind and draw; the last stays, and names the image."""
    changed = rows.clone()
    changed[:, 0] = {"weak": 0.2, "strong": 0.6}[name] + 0.2 * torch.rand((), generator=rng.generator(name))
    return changed


def bank() -> ViewBank:
    pixels = (torch.arange(7)[:, None] * 10).repeat(1, 3 * SIDE * SIDE).to(torch.uint8)
    return ViewBank.of(pixels, SHOWN, view, KINDS, Randomness(1))


def numbers(*given: int) -> Tensor:
    return torch.tensor(given, dtype=torch.float32)[:, None]


def test_views_are_of_their_images_and_of_their_kind() -> None:
    one, rng = bank(), Randomness(0).child("step")
    asked = numbers(4, 0, 2)
    for name, low in (("weak", 0.2), ("bags", 0.2), ("strong", 0.6)):
        seen = one.views(asked, rng, name)
        assert seen.shape == (3, 3 * SIDE * SIDE)
        assert torch.equal((seen[:, -1] * 255).round(), torch.tensor([40.0, 0.0, 20.0]))
        assert bool(((seen[:, 0] >= low - 0.01) & (seen[:, 0] <= low + 0.21)).all())


def test_a_step_takes_any_of_the_drawn_views_by_its_randomness() -> None:
    one, asked = bank(), numbers(*[1] * 60)
    seen = one.views(asked, Randomness(0), "weak")
    assert torch.equal(seen, one.views(asked, Randomness(0), "weak"))
    assert not torch.equal(seen, one.views(asked, Randomness(0).child("next"), "weak"))
    assert not torch.equal(seen, one.views(asked, Randomness(0), "bags"))
    assert len(seen[:, 0].unique()) == KINDS["weak"]


def test_only_the_images_that_are_trained_on_have_views() -> None:
    assert {kind: drawn.shape[:2] for kind, drawn in bank().drawn.items()} == {"weak": (5, 3), "strong": (5, 2)}


def test_the_encoder_takes_numbers_as_their_images_and_copies_share_the_bank() -> None:
    one = bank()
    encoder = BankEncoder(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), SIDE, one)
    asked = numbers(6, 3)
    assert torch.equal(encoder(asked), encoder(one.images(asked)))
    assert encoder(asked[None]).shape == (1, 2, 3)
    assert torch.allclose(encoder(asked)[:, 0] * 255, torch.tensor([60.0, 30.0]), atol=1e-3)
    copied = copy.deepcopy(encoder)
    assert copied.bank is one
    assert not list(encoder.state_dict())
