"""What excites units most: the right images, places above the unit's own quantile, the same in any batches."""

import numpy as np
import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, UnsupportedError
from snellen.core.preprocessing import Preprocessing
from snellen.data.files.arrays import load_arrays
from snellen.systems.neuron_descriptions.activation_maps import unit_maps
from snellen.systems.neuron_descriptions.exemplars import RunningExemplars, find_exemplars


class Channels(nn.Module):
    """Units that are red, green, nothing at all, and minus red."""

    def forward(self, images):
        red, green = images[:, 0], images[:, 1]
        return torch.stack([red, green, torch.zeros_like(red), -red], 1)


def classifier_of(layer, **arguments):
    network = nn.Sequential()
    network.add_module("units", layer)
    network.add_module("pool", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(2)))
    network(torch.rand(1, 3, 8, 8))
    return Classifier(network, class_names=["a", "b"], preparation=Preprocessing(size=(8, 8)), **arguments)


def images_of(count, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 255, (count, 8, 8, 3), dtype=np.uint8)
    return pixels, load_arrays(pixels)


@pytest.mark.covers("17.1")
def test_thresholds_are_the_units_own_quantile_over_all_places():
    pixels, images = images_of(300)
    found, _ = find_exemplars(classifier_of(Channels()), images, ["units"], count=4)
    own = found["units"]
    values = torch.from_numpy(pixels).float().permute(3, 0, 1, 2) / 255
    for unit, activation in enumerate([values[0], values[1], None, -values[0]]):
        if activation is not None:
            above = float((activation >= own.thresholds[unit]).double().mean())
            assert above == pytest.approx(0.01, abs=0.004)
    assert float(own.thresholds[3]) < 0 < float(own.thresholds[0])
    # Not a share of each image: of the image with the highest peak, many places may lie above, of others none.
    plain = np.concatenate([np.full((1, 8, 8, 3), 255, dtype=np.uint8), pixels[:99] // 2])
    bright, _ = find_exemplars(classifier_of(Channels()), load_arrays(plain), ["units"], count=2)
    assert bool(bright["units"].masks(0)[0].all())
    assert not bool(bright["units"].masks(0)[1].any())


@pytest.mark.covers("17.2")
def test_the_images_with_the_highest_peaks_in_any_batches_and_ties_to_the_earlier():
    pixels, _ = images_of(40)
    pixels[7] = pixels[31] = pixels[2]
    pixels[2, 3, 3] = pixels[7, 5, 5] = pixels[31, 0, 0] = 255  # the same peak in three images
    images, classifier = load_arrays(pixels), classifier_of(Channels())
    found = [find_exemplars(classifier, images, ["units"], count=6, batch_size=size)[0]["units"] for size in (1, 7, 40)]
    for one in found:
        assert torch.equal(one.positions, found[0].positions)
        assert torch.equal(one.maps, found[0].maps)
        assert torch.equal(one.thresholds, found[0].thresholds)
    peaks = torch.from_numpy(pixels[..., 0].reshape(40, -1).max(1).astype(int))
    expected = sorted(range(40), key=lambda row: (-int(peaks[row]), row))[:6]
    assert found[0].positions[0].tolist() == expected
    assert [row for row in expected if row in (2, 7, 31)] == [2, 7, 31]
    assert all(len(set(rows)) == 6 for rows in found[0].positions.tolist())


@pytest.mark.covers("17.3")
def test_one_pass_serves_all_layers_and_holds_no_more_for_more_images():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.Flatten(), nn.Linear(80, 2))
    classifier = Classifier(network, class_names=["a", "b"], preparation=Preprocessing(size=(8, 8)))
    _, images = images_of(30)
    found, _ = find_exemplars(classifier, images, ["1", "2"], count=3)
    assert classifier.spent.queries == 30
    assert [found[layer].units for layer in ("1", "2")] == [4, 5]
    held = []
    for count in (400, 1600):
        running = RunningExemplars(2, 3, capacity=64)
        for start in range(0, count, 50):
            maps = torch.rand(50, 2, 4, 4, generator=torch.Generator().manual_seed(start))
            running.add(maps, torch.arange(start, start + 50))
        held.append((running.maps.numel(), running.positions.numel(), running.sketch.kept))
    assert held[0][:2] == held[1][:2]
    assert held[1][2] <= held[0][2] + 3 * 64


@pytest.mark.covers("17.13")
def test_silent_units_few_images_grey_images_and_tokens():
    pixels = np.random.default_rng(3).integers(0, 255, (5, 8, 8), dtype=np.uint8)
    found, rejected = find_exemplars(classifier_of(Channels()), load_arrays(pixels), ["units"], count=15)
    own = found["units"]
    assert not rejected
    assert own.active.tolist() == [True, True, False, True]
    assert (own.positions[0] >= 0).sum() == 5
    assert not bool(own.masks(0)[5:].any())
    assert not bool(own.masks(2).any())

    class Tokens(nn.Module):
        def forward(self, images):
            patches = images[:, :2].flatten(2).transpose(1, 2)
            return torch.cat([patches.new_full((len(images), 1, 2), 9.0), patches], 1)

    network = nn.Sequential(Tokens(), nn.Flatten(), nn.Linear(130, 2))
    classifier = Classifier(network, class_names=["a", "b"], preparation=Preprocessing(size=(8, 8)))
    tokens, _ = find_exemplars(classifier, load_arrays(pixels), ["0"], count=2)
    # The class token is no place: its 9 is nobody's peak, and the places are where the pixels are.
    plain, _ = find_exemplars(classifier_of(Channels()), load_arrays(pixels), ["units"], count=2)
    assert torch.equal(tokens["0"].maps[:2], plain["units"].maps[:2])


def test_maps_are_enlarged_smoothly_before_they_are_cut_and_masses_have_no_sign():
    maps = torch.zeros(1, 1, 2, 2)
    maps[0, 0, 0, 0] = -8.0
    maps[0, 0, 1, 1] = 4.0
    running = RunningExemplars(1, 1)
    running.add(maps, torch.arange(1))
    found = running.result("coarse", 0.5, (4, 4))
    assert float(found.masses[0]) == 3.0
    # By hand: places a quarter and three quarters of the way, r down and c across, are 4 r c − 8 (1 − r) (1 − c).
    assert float(found.thresholds[0]) == 0.0
    assert found.masks(0)[0].int().tolist() == [[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]]


def test_a_unit_that_is_seldom_active_is_masked_where_it_is_active():
    maps = torch.zeros(50, 1, 8, 8)
    maps[4, 0, 2, 2] = 1.0
    running = RunningExemplars(1, 2)
    running.add(maps, torch.arange(50))
    found = running.result("seldom", 0.99, (8, 8))
    assert float(found.thresholds[0]) == 0.0
    assert found.masks(0)[0].sum() == 1
    assert not bool(found.masks(0)[1].any())


def test_tokens_that_are_no_square_and_layers_that_are_called_twice_are_refused():
    with pytest.raises(UnsupportedError, match="Name another layer"):
        unit_maps(torch.zeros(1, 12, 3), "odd")
    relu = nn.ReLU()
    network = nn.Sequential(relu, relu, nn.Flatten(), nn.Linear(192, 2))
    classifier = Classifier(network, class_names=["a", "b"], preparation=Preprocessing(size=(8, 8)))
    with pytest.raises(UnsupportedError, match="called 2 times"):
        find_exemplars(classifier, images_of(2)[1], ["0"])
    with pytest.raises(UnsupportedError, match="no torch module"):
        find_exemplars(Classifier(lambda x: x.flatten(1)[:, :2], class_names=["a", "b"]), images_of(2)[1], ["0"])
    with pytest.raises(InputError, match="count must be"):
        find_exemplars(classifier, images_of(2)[1], ["0"], count=0)


def test_images_whose_activations_are_not_finite_count_nowhere():
    class Dividing(nn.Module):
        def forward(self, images):
            return 1 / images[:, :1]

    pixels, _ = images_of(6, seed=5)
    pixels = np.maximum(pixels, 1)
    pixels[2, 1, 1] = 0
    found, rejected = find_exemplars(classifier_of(Dividing()), load_arrays(pixels), ["units"], count=6)
    assert [key for key, _ in rejected] == [load_arrays(pixels).ids[2]]
    assert sorted(found["units"].positions[0].tolist()) == [-1, 0, 1, 3, 4, 5]
    assert bool(torch.isfinite(found["units"].thresholds).all())
