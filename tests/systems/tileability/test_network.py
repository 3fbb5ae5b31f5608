"""The network of TexTile: attention, names of weights, and beginning with a ConvNeXt."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models import convnext_base, convnext_tiny
from torchvision.models.convnext import CNBlockConfig, ConvNeXt

from snellen.core.errors import InputError
from snellen.systems.tileability.network import LinearAttention, TileabilityConfig, TileabilityNetwork

TINY = TileabilityConfig(
    channels=(8, 12, 16, 20), depths=(1, 1, 1, 1), heads=2, head_width=(4, 6), layer_scale=1.0, side=64
)


@pytest.mark.covers("21.5")
def test_queries_sum_to_one_over_channels_and_keys_over_positions():
    torch.manual_seed(0)
    layer = LinearAttention(8, 2, 4)
    queries, keys, values = layer.weights(torch.randn(3, 8, 5, 7))
    assert queries.shape == keys.shape == values.shape == (3, 2, 4, 35)
    assert torch.allclose(queries.sum(2), torch.ones(3, 2, 35), atol=1e-6)
    assert torch.allclose(keys.sum(3), torch.ones(3, 2, 4), atol=1e-6)


@pytest.mark.covers("21.5")
def test_attention_is_the_published_sum_added_with_gamma():
    torch.manual_seed(1)
    layer, maps = LinearAttention(8, 2, 4), torch.randn(2, 8, 3, 3)
    queries, keys, values = layer.weights(maps)
    found = torch.zeros(2, 2, 4, 9)
    for n in range(2):
        for head in range(2):
            context = torch.zeros(4, 4)
            for position in range(9):
                context += torch.outer(keys[n, head, :, position], values[n, head, :, position])
            for position in range(9):
                found[n, head, :, position] = context.T @ (queries[n, head, :, position] * 4**-0.5)
    wanted = maps + 0.01 * layer.to_out(found.reshape(2, 8, 3, 3))
    assert torch.allclose(layer(maps), wanted, atol=1e-5)
    assert layer.gamma.item() == pytest.approx(0.01)
    with torch.no_grad():
        layer.gamma.zero_()
    assert torch.equal(layer(maps), maps)


@pytest.mark.covers("21.5")
def test_no_tensor_grows_with_the_square_of_the_positions():
    layer, sizes = LinearAttention(4, 1, 2), []

    class Noting(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            made = func(*args, **(kwargs or {}))
            if isinstance(made, torch.Tensor):
                sizes.append(made.numel())
            return made

    with Noting():
        layer(torch.randn(1, 4, 40, 40))
    assert max(sizes) <= 1600 * 4 * 3


def test_names_and_shapes_are_those_of_the_released_weights():
    with torch.device("meta"):
        network = TileabilityNetwork(TileabilityConfig())
    names = {name: tuple(one.shape) for name, one in network.state_dict().items()}
    assert names["features.5.to_qkv.weight"] == (3 * 16 * 128, 512, 1, 1)
    assert names["features.8.to_qkv.weight"] == (3 * 16 * 256, 1024, 1, 1)
    assert names["features.5.to_out.0.bias"] == (512,)
    assert names["features.8.to_out.1.g"] == (1, 1024, 1, 1)
    assert names["features.5.gamma"] == ()
    assert names["classifier.1.weight"] == (1, 1024)
    assert names["features.0.0.weight"] == (128, 3, 4, 4)
    assert names["features.9.2.block.5.weight"] == (1024, 4096)
    with torch.device("meta"):
        plain = convnext_base().state_dict()
    assert len(names) == len(plain) - 4 + 2 * 6 + 2, "another head of one layer, and two blocks of attention"


def test_without_attention_it_is_a_plain_convnext():
    network = TileabilityNetwork(TINY.model_copy(update={"attention": False}))
    assert not any(isinstance(layer, LinearAttention) for layer in network.modules())
    assert network(torch.randn(2, 3, 64, 64)).shape == (2,)


def test_it_begins_with_the_features_of_a_convnext():
    stages = [CNBlockConfig(8, 12, 1), CNBlockConfig(12, 16, 1), CNBlockConfig(16, 20, 1), CNBlockConfig(20, None, 1)]
    torch.manual_seed(0)
    source, network = ConvNeXt(stages).eval(), TileabilityNetwork(TINY).eval()
    network.take_convnext(source.state_dict())
    with torch.no_grad():
        for layer in network.features:
            if isinstance(layer, LinearAttention):
                layer.gamma.zero_()
    picture = torch.randn(1, 3, 64, 64)
    assert torch.allclose(network.features(picture), source.features(picture), atol=1e-6)
    with pytest.raises(InputError, match="does not fit"):
        network.take_convnext(convnext_tiny().state_dict())
    with pytest.raises(InputError, match="hold no features"):
        network.take_convnext(nn.Linear(2, 2).state_dict())


def test_sizes_that_make_no_network():
    with pytest.raises(ValueError, match="channels, depths"):
        TileabilityConfig(channels=(0, 1, 1, 1))
