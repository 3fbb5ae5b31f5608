"""Learned tokens in a vision transformer: where they enter, what is trained, what is kept."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from snellen.core.errors import InputError, UnsupportedError
from snellen.models.dual_encoders import prompted
from snellen.models.dual_encoders.prompted import PromptedClassifier, PromptedTower, prompted_classifier
from snellen.models.dual_encoders.towers import TwoTower
from snellen.models.references import load_two_tower


@pytest.fixture(scope="module", params=["hf", "openclip"])
def reference(request: pytest.FixtureRequest, clip_folder: Path, openclip_folder: Path) -> str:
    return f"{request.param}:{clip_folder if request.param == 'hf' else openclip_folder}"


@pytest.fixture(scope="module")
def tower(reference: str) -> TwoTower:
    return load_two_tower(reference)


def images(count: int = 3) -> Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def made(tower: TwoTower, prompts: int = 4, classes: int = 5) -> PromptedClassifier:
    vectors = torch.nn.functional.normalize(torch.randn(classes, tower.dimension), dim=1)
    return prompted_classifier(tower, vectors, prompts=prompts)


def test_without_tokens_the_vectors_are_the_towers_own(tower: TwoTower) -> None:
    own = tower.encode_images(images(), normalised=False)
    network = made(tower, prompts=0)
    assert network.tower.prompts is None
    vectors = network.tower((images() - network.mean) / network.std)
    assert torch.allclose(vectors, own, atol=1e-5)
    assert torch.allclose(network(images()), own @ network.head.weight.T, atol=1e-5)


@pytest.mark.covers("35.7")
def test_tokens_enter_behind_positions_and_the_first_norm_between_class_token_and_patches(tower: TwoTower) -> None:
    network = made(tower, prompts=4)
    inner = network.tower.image_tower
    seen: list[Tensor] = []
    first_norm = next(module for module in inner.modules() if isinstance(module, nn.LayerNorm))
    entering: list[Tensor] = []
    first_norm.register_forward_hook(lambda _module, _inputs, output: entering.append(output))
    whole = type(inner).of_tokens
    shown = (images() - network.mean) / network.std
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(type(inner), "of_tokens", lambda self, tokens: seen.append(tokens) or whole(self, tokens))
        network.tower(shown)
    patches = (32 // 8) ** 2
    assert entering[0].shape[1] == 1 + patches
    assert seen[0].shape[1] == 1 + 4 + patches
    assert torch.equal(seen[0][:, 0], entering[0][:, 0])
    assert torch.equal(seen[0][:, 5:], entering[0][:, 1:])
    # Neither norm nor positions: what enters the layers is the parameter itself.
    assert network.tower.prompts is not None
    assert torch.equal(seen[0][:, 1:5], network.tower.prompts.expand(3, -1, -1))


def test_tokens_have_no_order_because_they_have_no_positions(tower: TwoTower) -> None:
    network = made(tower, prompts=4)
    before = network(images())
    assert network.tower.prompts is not None
    network.tower.prompts.data = network.tower.prompts.data[:, [2, 0, 3, 1]]
    assert torch.allclose(network(images()), before, atol=1e-5)
    network.tower.prompts.data = torch.randn(1, 4, 32)  # a shift by a constant would be taken out by the next norm
    assert not torch.allclose(network(images()), before, atol=1e-2)


def test_tokens_are_drawn_within_the_bound_of_the_towers_own_patches(tower: TwoTower) -> None:
    found = PromptedTower(tower.image_tower, 500).prompts
    assert found is not None
    prompts = found.detach()
    bound = (6 / (3 * 8 * 8 + 32)) ** 0.5
    assert prompts.shape == (1, 500, 32)
    assert 0.98 * bound < float(prompts.abs().max()) <= bound
    assert abs(float(prompts.mean())) < 0.02 * bound


@pytest.mark.covers("35.8")
def test_exactly_tokens_class_vectors_and_norms_are_trained(tower: TwoTower) -> None:
    network = made(tower)
    norms = {
        f"tower.image_tower.{name}.{part}"
        for name, module in network.tower.image_tower.named_modules()
        if isinstance(module, nn.LayerNorm)
        for part in ("weight", "bias")
    }
    assert len(norms) == 2 * (2 * 2 + 2), "two layers of two norms, one before and one after"
    assert set(network.trainable_parameters()) == norms | {"tower.prompts", "head.weight"}
    before = copy.deepcopy({name: parameter.detach() for name, parameter in network.named_parameters()})
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    torch.nn.functional.cross_entropy(network(images()), torch.tensor([0, 1, 2])).backward()
    optimizer.step()
    moved = {name for name, parameter in network.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved == norms | {"tower.prompts", "head.weight"}
    assert network.head.bias is None


def test_the_text_model_is_untouched_and_shared_with_nothing(tower: TwoTower) -> None:
    before = tower.identity()
    network = made(tower)
    with torch.no_grad():
        for parameter in network.trainable_parameters().values():
            parameter.add_(1)
    assert tower.identity() == before


def test_the_state_is_what_is_trained_and_is_all_that_is_needed(tower: TwoTower) -> None:
    network = made(tower)
    with torch.no_grad():
        for parameter in network.trainable_parameters().values():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    state = network.state_dict()
    assert set(state) == set(network.trainable_parameters())
    other = made(tower)
    assert not torch.allclose(other(images()), network(images()), atol=1e-3)
    other.load_state_dict(state, strict=True)
    assert torch.equal(other(images()), network(images()))
    with pytest.raises(RuntimeError, match=r"head\.weight"):
        other.load_state_dict({name: one for name, one in state.items() if name != "head.weight"})
    copied = copy.deepcopy(network.requires_grad_(False))
    assert set(copied.state_dict()) == set(state), "a classifier that is examined has no gradients"


def test_the_network_is_made_again_from_its_record(tower: TwoTower, reference: str) -> None:
    network = made(tower)
    record = prompted.architecture(tower, reference, 5, 4)
    arguments = {key: value for key, value in record.items() if key != "name"}
    again = prompted.build(**arguments)
    again.load_state_dict(network.state_dict())
    assert torch.equal(again(images()), network(images()))
    with pytest.raises(InputError, match="other weights than the tower that this classifier was tuned on"):
        prompted.build(**{**arguments, "identity": "0" * 64})


def test_dropout_of_the_tower_stays_off_in_training(tower: TwoTower) -> None:
    network = made(tower).train()
    assert network.training
    assert not any(module.training for module in network.tower.image_tower.modules())


def test_residual_networks_and_pooled_tokens_are_refused(resnet_folder: Path, siglip_folder: Path) -> None:
    for reference in (f"openclip:{resnet_folder}", f"hf:{siglip_folder}"):
        tower = load_two_tower(reference)
        with pytest.raises(UnsupportedError, match="residual network, or pools its tokens otherwise"):
            prompted_classifier(tower, torch.ones(2, tower.dimension), prompts=2)
        with pytest.raises(UnsupportedError, match="token by token"):
            tower.image_tower.tokens(torch.zeros(1, 3, 32, 32))  # type: ignore[operator]
    with pytest.raises(InputError, match="at least 0"):
        PromptedTower(nn.Identity(), -1)
