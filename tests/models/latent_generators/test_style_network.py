"""The style generator: modulation, StyleSpace, cuts between blocks, and its folder."""

import pytest
import torch
import torch.nn.functional as F

from snellen.core.artifact import Lineage
from snellen.core.errors import InputError
from snellen.models.latent_generators.references import load_latent_generator
from snellen.models.latent_generators.style_network import (
    DownNetwork,
    StyleNetwork,
    StyleShape,
    modulated,
    style_artifact,
)

LINEAGE = Lineage(recipe={"method": "none"}, data="-", seed=0, code_version="0")


@pytest.fixture
def network():
    torch.manual_seed(0)
    made = StyleNetwork(StyleShape(latent=6, widths=(12, 8, 5), mapping_layers=2))
    for block in made.blocks:
        torch.nn.init.normal_(block.noise1)
        torch.nn.init.normal_(block.noise2)
    return made.eval()


def test_the_published_shape_has_the_published_style_space():
    published = StyleShape()
    assert (published.side, published.latent, published.coordinates) == (64, 514, 2464)


def test_modulation_is_that_of_a_weight_scaled_for_each_image():
    generator = torch.Generator().manual_seed(1)
    maps, weight = torch.randn(3, 4, 5, 5, generator=generator), torch.randn(7, 4, 3, 3, generator=generator)
    scale = torch.randn(3, 4, generator=generator)
    each = []
    for one, factors in zip(maps, scale, strict=True):
        own = weight * (1 + factors)[None, :, None, None]
        own = own * torch.rsqrt(own.square().sum((1, 2, 3), keepdim=True) + 1e-8)
        each.append(F.conv2d(one[None], own, padding=1))
    assert torch.allclose(modulated(maps, weight, scale), torch.cat(each), atol=1e-5)


def test_a_code_for_each_block_is_the_shared_code_where_all_are_equal(network):
    codes = torch.randn(2, 6, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(network.synthesis(codes), network.synthesis(codes[:, None].repeat(1, 3, 1)), atol=1e-6)


def test_rendering_on_from_a_block_gives_the_same_image(network):
    codes = torch.randn(3, 6, generator=torch.Generator().manual_seed(3))
    style, noise = network.styles(codes), torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(4))
    whole = network.render(style, noise)
    for block in (1, 2, 3):
        kept = network.maps(style, block, noise)
        assert torch.equal(network.render(style, noise, start=block, before=kept), whole)
    assert not torch.equal(whole, network.render(style))


def test_kept_maps_of_one_image_serve_many_styles(network):
    style = network.styles(torch.randn(1, 6, generator=torch.Generator().manual_seed(5)))
    last = network.first_coordinate(2)
    changed = style.space.repeat(4, 1)
    changed[torch.arange(4), last + torch.arange(4)] += 1
    many = style._replace(space=changed, colours=style.colours.repeat(4, 1))
    kept = network.maps(style, 2)
    assert torch.allclose(network.render(many, start=2, before=kept), network.render(many), atol=1e-6)


def test_every_coordinate_of_style_space_changes_the_image(network):
    style = network.styles(torch.randn(1, 6, generator=torch.Generator().manual_seed(6)))
    base = network.render(style)
    for coordinate in range(network.shape.coordinates):
        changed = style.space.clone()
        changed[0, coordinate] += 2
        assert not torch.equal(network.render(style._replace(space=changed)), base), coordinate
    assert network.block_of.tolist() == [0] * 24 + [1] * 20 + [2] * 13
    assert [network.first_coordinate(block) for block in range(3)] == [0, 24, 44]


def test_a_bounded_generator_stays_in_range():
    network = StyleNetwork(StyleShape(latent=4, widths=(8, 8), bounded=True))
    images = network(50 * torch.randn(8, 4)).detach()
    assert float(images.min()) >= 0
    assert float(images.max()) <= 1


def test_the_folder_of_a_generator_loads_as_a_latent_generator(network, tmp_path):
    style_artifact(network, "own", LINEAGE).save(tmp_path)
    generator = load_latent_generator(f"artifact:{tmp_path}")
    latents = torch.randn(2, 6, generator=torch.Generator().manual_seed(7))
    assert torch.allclose(generator.images(latents), network(latents).detach().clamp(0, 1), atol=1e-6)
    nearer = generator.images(latents, 0.5)
    assert not torch.equal(nearer, generator.images(latents))
    mean = network.synthesis(network.mean_code()).detach().clamp(0, 1)
    assert (generator.images(latents, 0.01) - mean).abs().max() < 0.05


def test_what_cannot_be_rendered_is_refused(network):
    with pytest.raises(InputError, match=r"takes codes \(n, 6\) or \(n, 3, 6\); got \(2, 5\)"):
        network.styles(torch.zeros(2, 5))
    style = network.styles(torch.zeros(1, 6))
    with pytest.raises(InputError, match="maps are given exactly"):
        network.render(style, start=1)
    with pytest.raises(InputError, match="blocks 0 to 3"):
        network.maps(style, 4)


def test_images_are_judged_and_encoded_by_the_same_network():
    shape = StyleShape(latent=4, widths=(8, 6, 4))
    assert DownNetwork(shape)(torch.rand(2, 3, 16, 16)).shape == (2, 1)
    assert DownNetwork(shape, outputs=9)(torch.rand(2, 3, 16, 16)).shape == (2, 9)
