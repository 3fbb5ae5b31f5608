"""Projectors of captioners: each is trained by the captions' loss, for a decoder in a basis of its own."""

from __future__ import annotations

import pytest
import torch

from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.models.captioners.captioner import CrossAttentionCaptioner
from snellen.models.random_folders import write_random_vit_gpt2
from snellen.models.references import load_captioner
from snellen.reproduction.representation_transfer.vision_language import (
    CaptionSplit,
    Projector,
    caption_gain,
    caption_losses,
    caption_store,
    rotation_towards,
    trained_projector,
)
from snellen.training.batches import Batch
from snellen.training.plan import TrainingPlan

CAPTIONS = ["a red ring", "a green star", "a red ring", "a green star"] * 4
PLAN = TrainingPlan(epochs=30, batch_size=16, learning_rate=1e-2)


@pytest.fixture(scope="module")
def captioner(tmp_path_factory: pytest.TempPathFactory) -> CrossAttentionCaptioner:
    found = load_captioner(f"hf:{write_random_vit_gpt2(tmp_path_factory.mktemp('captioner'), seed=0)}")
    assert isinstance(found, CrossAttentionCaptioner)
    return found


@pytest.fixture(scope="module")
def states(captioner: CrossAttentionCaptioner) -> torch.Tensor:
    """Two kinds of images, one for each caption."""
    generator = torch.Generator().manual_seed(0)
    kinds = torch.randn(2, *captioner.state_shape, generator=generator)
    return kinds.repeat(8, 1, 1) + 0.05 * torch.randn(16, *captioner.state_shape, generator=generator)


def test_a_rotation_goes_from_the_own_basis_to_a_random_one() -> None:
    whole, half, none = (rotation_towards(6, share, torch.Generator().manual_seed(3)) for share in (1.0, 0.5, 0.0))
    assert torch.allclose(none, torch.eye(6).double(), atol=1e-6)
    assert torch.allclose(half @ half, whole, atol=1e-6)
    assert torch.allclose(whole @ whole.T, torch.eye(6).double(), atol=1e-6)


def test_training_lowers_the_captions_loss_and_shows_the_decoder_its_image(
    captioner: CrossAttentionCaptioner, states: torch.Tensor
) -> None:
    store, width = caption_store(captioner, states, CAPTIONS), captioner.state_shape[1]
    one, other = (
        trained_projector(captioner, store, torch.eye(width), Randomness(0).child(name), Silent(), PLAN)
        for name in ("one", "other")
    )
    untrained = Projector(width, torch.eye(width))
    batch = Batch(store.images, store.targets, store.weights, torch.arange(16), Randomness(0))
    losses = caption_losses(captioner)
    with torch.no_grad():
        assert losses(one, batch).mean() < losses(untrained, batch).mean() - 0.3
        # Neighbours in the list show other shapes: with each other's states their captions are unlikely.
        assert caption_gain(captioner, one, store) > 0.1
        assert not torch.allclose(one(states), other(states), atol=0.1), "each from its own weights"


def test_fillers_do_not_count(captioner: CrossAttentionCaptioner, states: torch.Tensor) -> None:
    short, long = ["a ring"], ["a ring", "on a big red star with dots"]
    projector, losses = Projector(captioner.state_shape[1], torch.eye(captioner.state_shape[1])), []
    for captions in (short, long):
        store = caption_store(captioner, states[: len(captions)], captions)
        batch = Batch(store.images, store.targets, store.weights, torch.arange(len(captions)), Randomness(0))
        with torch.no_grad():
            losses.append(float(caption_losses(captioner)(projector, batch)[0]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_decoder_in_another_basis_reads_turned_tokens_alike(
    captioner: CrossAttentionCaptioner, states: torch.Tensor
) -> None:
    width = captioner.state_shape[1]
    turn = rotation_towards(width, 1.0, torch.Generator().manual_seed(1)).float()
    target = captioner.tokenise(["a red ring"], ended=False)[0][1:]
    plain, turned = (CaptionSplit("any", captioner, Projector(width, basis), target) for basis in
                     (torch.eye(width), turn))  # fmt: skip
    with torch.no_grad():
        scores = plain.decode(states)
        assert torch.allclose(turned.decode(states @ turn), scores, atol=1e-3)
        assert not torch.allclose(turned.decode(states), scores, atol=1e-3)
