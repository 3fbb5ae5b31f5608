"""Regions as vectors: weighted means of features, with nothing in them where a region is empty."""

import pytest
import torch

from snellen.models.classifiers.references import load_classifier
from snellen.systems.neuron_descriptions.captioner import Regions
from snellen.systems.neuron_descriptions.exemplars import RunningExemplars
from snellen.systems.neuron_descriptions.region_encoder import RegionEncoder, masked_means
from snellen.systems.neuron_descriptions.regions_of_units import unit_regions

LEVELS = ["body.2", "body.8", "body.14"]


@pytest.fixture(scope="module")
def encoder():
    return RegionEncoder(load_classifier("bundled:scene-cnn"), LEVELS)


@pytest.mark.covers("17.4")
def test_a_region_weighs_one_and_an_empty_one_gives_zeros():
    maps = torch.rand(3, 5, 4, 4, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(3, 16, 16)
    masks[0, :4, :4] = 1
    masks[1] = 1
    found = masked_means(maps, masks)
    assert torch.allclose(found[1], maps[1].mean((1, 2)), atol=1e-6)
    assert torch.equal(found[2], torch.zeros(5))
    # Twice as strong a mask is the same region.
    assert torch.allclose(masked_means(maps, masks * 2), found, atol=1e-6)
    assert torch.allclose(masked_means(torch.ones(3, 1, 4, 4), masks)[:2], torch.ones(2, 1), atol=1e-6)
    assert float((found[0] - maps[0, :, 0, 0]).abs().max()) < 0.2  # the corner, and a little of what is beside it


def test_a_region_of_one_pixel_is_not_lost_on_a_coarse_map():
    masks = torch.zeros(1, 224, 224)
    masks[0, 100, 100] = 1
    assert float(masked_means(torch.ones(1, 1, 7, 7), masks)) == pytest.approx(1.0)


def test_the_whole_image_goes_through_the_network_and_the_mask_acts_on_features(encoder):
    images = torch.rand(2, 3, 48, 40, generator=torch.Generator().manual_seed(1))
    left = torch.zeros(2, 48, 40)
    left[:, :, :20] = 1
    found = encoder.encode(images, left)
    assert found.shape == (2, 32 + 64 + 96)
    changed = images.clone()
    changed[:, :, :, 24:] = 0  # beside the region: only deep features see so far
    difference = (encoder.encode(changed, left) - found).abs()
    assert float(difference[:, :32].max()) < 1e-6 < float(difference[:, 96:].max())


def test_regions_of_units_are_encoded_image_by_image(encoder):
    pixels = torch.rand(40, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    running = RunningExemplars(3, 4)
    maps = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    maps[:, 2] = 0  # never active
    running.add(maps, torch.arange(40))
    found = running.result("layer", 0.99, (32, 32))
    read = []

    def reader(rows):
        read.extend(rows)
        return pixels[rows]

    regions = unit_regions(found, encoder, reader)
    assert sorted(read) == sorted(set(found.positions[:2].flatten().tolist()))
    assert not bool(regions.present[2].any())
    for unit in range(2):
        masks = found.masks(unit)
        alone = encoder.encode(pixels[found.positions[unit]], masks)
        assert torch.allclose(regions.vectors[unit][regions.present[unit]], alone[regions.present[unit]], atol=1e-5)
        assert torch.equal(regions.present[unit], masks.flatten(1).any(1))
    assert isinstance(regions.of([0]), Regions)
