"""f: exact inverse and log-determinant, and densities that integrate to one."""

import pytest
import torch

from snellen.core.errors import InputError
from snellen.systems.distributional_control.invertible_network import InvertibleNetwork, standard_normal


def changed(network, by=0.3):
    """Weights as after a training, so that nothing is zero or one."""
    draws = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in network.parameters():
            size = by if weight.ndim == 1 else (by / weight.shape[1]) ** 0.5
            weight.add_(size * torch.randn(weight.shape, generator=draws, dtype=weight.dtype))
    return network


@pytest.mark.covers("28.1")
@pytest.mark.parametrize("dimension", [2, 5, 8])
@pytest.mark.parametrize("conditions", [0, 3])
def test_the_log_determinant_is_that_of_the_jacobian(dimension, conditions):
    network = changed(InvertibleNetwork(dimension, blocks=3, hidden=16, conditions=conditions).double())
    noise = torch.randn(4, dimension, dtype=torch.float64)
    alpha = torch.randn(4, conditions, dtype=torch.float64) if conditions else None
    _, found = network(noise, alpha)
    for row in range(4):
        own = None if alpha is None else alpha[row : row + 1]
        jacobian = torch.autograd.functional.jacobian(lambda x, own=own: network(x[None], own)[0][0], noise[row])
        assert torch.allclose(found[row], torch.linalg.slogdet(jacobian)[1], atol=1e-9)
    assert float(found.detach().abs().min()) > 0.01, "the weights must have changed the volume"


@pytest.mark.covers("28.1")
@pytest.mark.parametrize("dimension", [2, 7, 64, 512])
def test_the_inverse_comes_back_to_the_noise(dimension):
    network = changed(InvertibleNetwork(dimension, blocks=8, hidden=32), 0.1)
    with torch.no_grad():
        noise = torch.randn(16, dimension)
        latents, _ = network(noise)
        assert torch.allclose(network.inverse(latents), noise, atol=1e-4)
    assert float((latents - noise).abs().max()) > 0.5


def test_a_density_integrates_to_one():
    network = changed(InvertibleNetwork(2, blocks=2, hidden=8))
    axis = torch.linspace(-30, 30, 601)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    with torch.no_grad():
        mass = float(network.log_density(grid).double().exp().sum()) * 0.1**2
    assert mass == pytest.approx(1, abs=0.02)


def test_a_fresh_network_maps_the_prior_to_itself():
    network = InvertibleNetwork(16)
    noise = torch.randn(8, 16)
    with torch.no_grad():
        latents, log_determinant = network(noise)
    assert torch.allclose(latents.norm(dim=1), noise.norm(dim=1), atol=1e-4)
    assert not torch.allclose(latents, noise, atol=0.1), "it rotates"
    assert not log_determinant.any()
    assert torch.allclose(network.log_density(latents), standard_normal(noise), atol=1e-3)


def test_the_published_network_has_as_many_weights_as_the_paper_says():
    network = InvertibleNetwork(512)
    count = sum(weight.numel() for block in network.blocks for weight in block.subnet.parameters())
    assert count == pytest.approx(1.58e6, rel=0.01)


@pytest.mark.covers("28.9")
def test_every_block_sees_the_condition():
    network = changed(InvertibleNetwork(4, blocks=3, hidden=8, conditions=2))
    noise, alpha = torch.randn(5, 4), torch.randn(5, 2)
    for number in range(3):
        first = network.blocks[number].subnet[0]
        assert first.in_features == 2 + 2
        with torch.no_grad():
            kept = first.weight.clone()
            others = [block.subnet[0] for place, block in enumerate(network.blocks) if place != number]
            saved = [one.weight.clone() for one in others]
            for one in others:
                one.weight[:, 2:] = 0  # of all blocks this one alone still sees it
            (z, d), (other_z, other_d) = network(noise, alpha), network(noise, alpha + 1)
            assert not torch.allclose(z, other_z)
            assert not torch.allclose(d, other_d)
            first.weight.copy_(kept)
            for one, weight in zip(others, saved, strict=True):
                one.weight.copy_(weight)
        assert torch.allclose(network.inverse(network(noise, alpha)[0], alpha), noise, atol=1e-4)


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="at least 2 dimensions"):
        InvertibleNetwork(1)
    with pytest.raises(InputError, match=r"at most 4096 dimensions.*got 16384"):
        InvertibleNetwork(16384)
    network = InvertibleNetwork(4, conditions=2)
    with pytest.raises(InputError, match=r"takes \(n, 4\); got \(3, 5\)"):
        network(torch.zeros(3, 5), torch.zeros(3, 2))
    with pytest.raises(InputError, match=r"expected a condition \(3, 2\).*got none"):
        network(torch.zeros(3, 4))
    with pytest.raises(InputError, match=r"expected a condition \(3, 0\)"):
        InvertibleNetwork(4)(torch.zeros(3, 4), torch.zeros(3, 2))
