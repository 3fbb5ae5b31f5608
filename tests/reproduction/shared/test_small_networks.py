"""Three families: shapes, sizes, what makes each of them one, and that they learn."""

import itertools

import pytest
import torch
from torch import nn

from snellen.core.errors import UnknownNameError
from snellen.reproduction.shared.small_networks import FAMILIES, small_network


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_small_and_a_teacher_is_deeper(family):
    network, deeper = small_network(family, 7).eval(), small_network(family, 7, blocks=2)
    weights = [sum(parameter.numel() for parameter in one.parameters()) for one in (network, deeper)]
    assert 50_000 < weights[0] < 200_000
    assert weights[1] > 1.3 * weights[0]
    images = torch.rand(4, 3, 32, 32)
    whole = network(images)
    assert whole.shape == (4, 7)
    assert torch.allclose(network(images[1:2]), whole[1:2], atol=1e-5)


def test_each_family_keeps_its_idea():
    convolutions = {
        family: [module for module in small_network(family, 3).modules() if isinstance(module, nn.Conv2d)]
        for family in FAMILIES
    }
    assert any(one.groups > 1 for one in convolutions["grouped_residual"])
    widths = [one.in_channels for one in convolutions["densely_connected"] if one.out_channels == 24]
    assert all(later - earlier == 24 for earlier, later in itertools.pairwise(widths[:4]))
    assert {(one.groups, one.kernel_size) for one in convolutions["plain"]} == {(1, (3, 3))}


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_reach_every_weight(family):
    network = small_network(family, 3)
    network(torch.rand(4, 3, 16, 16)).square().sum().backward()
    assert all(
        parameter.grad is not None and bool(parameter.grad.isfinite().all()) for parameter in network.parameters()
    )


def test_an_unknown_family_is_named_with_the_known():
    with pytest.raises(UnknownNameError, match="unknown family 'plian'; did you mean 'plain'"):
        small_network("plian", 3)
