"""The denoiser: identity at first, residual, as published; read again from an artifact, and from nothing else."""

import json

import pytest
import torch
from torch import nn

from snellen.core.artifact import Artifact, Card, Lineage
from snellen.core.errors import InputError, SnellenError
from snellen.core.preprocessing import Preprocessing
from snellen.models.residual_denoiser import ResidualDenoiser, architecture, load_denoiser


def saved(folder, network, *, kind="denoiser", built=None):
    card = Card(
        name="d",
        kind=kind,
        architecture=built or architecture(3, 4),
        preparation=Preprocessing(size=(8, 8)).model_dump(mode="json"),
        lineage=Lineage(recipe={}, data="", seed=0, code_version="0"),
    )
    return Artifact(network.state_dict(), card).save(folder)


@pytest.mark.covers("5.9")
def test_untrained_it_gives_back_what_it_gets_and_trained_it_takes_away():
    torch.manual_seed(0)
    network = ResidualDenoiser(depth=4, width=5)
    images = torch.rand(2, 3, 9, 7)
    assert torch.equal(network(images), images)
    with torch.no_grad():
        network.added[-1].weight.normal_()
    assert torch.allclose(images - network(images), network.added(images), atol=1e-6)
    assert not torch.allclose(network(images), images)


def test_layers_are_the_published_ones():
    network = ResidualDenoiser()
    convolutions = [layer for layer in network.added if isinstance(layer, nn.Conv2d)]
    norms = [layer for layer in network.added if isinstance(layer, nn.BatchNorm2d)]
    assert (len(convolutions), len(norms)) == (17, 15)
    assert [layer.bias is not None for layer in convolutions] == [True] + [False] * 16
    assert all(layer.out_channels == 64 for layer in convolutions[:-1])
    assert {(layer.eps, layer.momentum) for layer in norms} == {(1e-4, 0.95)}
    flat = convolutions[1].weight.flatten(1)
    assert torch.allclose(flat @ flat.T, torch.eye(64), atol=1e-4), "not orthogonal"
    assert isinstance(network.added[-1], nn.Conv2d)
    for wrong in ({"depth": 1}, {"width": 0}):
        with pytest.raises(InputError, match="at least 2 layers and 1 channel"):
            ResidualDenoiser(**wrong)


@pytest.mark.smoke
def test_it_is_read_again_frozen_and_in_evaluation_mode(tmp_path):
    network = ResidualDenoiser(depth=3, width=4)
    nn.init.normal_(network.added[-1].weight)
    saved(tmp_path / "d", network)
    for reference in (f"artifact:{tmp_path}/d", str(tmp_path / "d")):
        loaded = load_denoiser(reference)
        images = torch.rand(2, 3, 8, 8)
        assert torch.equal(loaded.network(images), network.eval()(images))
        assert not loaded.network.training
        assert not any(parameter.requires_grad for parameter in loaded.network.parameters())
        assert loaded.preparation.size == (8, 8)


def test_what_is_no_denoiser_is_refused(tmp_path):
    network = ResidualDenoiser(depth=3, width=4)
    with pytest.raises(InputError, match="is not an artifact"):
        load_denoiser(f"artifact:{tmp_path}/nothing")
    saved(tmp_path / "other", network, kind="other")
    with pytest.raises(InputError, match="is of the kind 'other'; expected a denoiser"):
        load_denoiser(str(tmp_path / "other"))
    saved(tmp_path / "wrong", network, built=architecture(4, 4))
    with pytest.raises(SnellenError):
        load_denoiser(str(tmp_path / "wrong"))
    saved(tmp_path / "odd", network)
    card = json.loads((tmp_path / "odd" / "card.json").read_text())
    card["architecture"]["colour"] = "red"
    (tmp_path / "odd" / "card.json").write_text(json.dumps(card))
    with pytest.raises(InputError, match="cannot be built"):
        load_denoiser(str(tmp_path / "odd"))
