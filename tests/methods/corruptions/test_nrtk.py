"""Damage by NRTK: equal images for equal seeds, the size of the image, and what is said where it is not installed."""

import importlib.util

import numpy as np
import pytest
import torch

import snellen
from snellen.auditing.checks.corruption import CommonCorruptions
from snellen.core.errors import MissingExtraError
from snellen.core.randomness import Randomness
from snellen.methods.corruptions import nrtk_kinds
from snellen.methods.corruptions.apply import corrupt
from snellen.methods.corruptions.benchmarks import benchmark
from snellen.methods.corruptions.nrtk_kinds import NRTK_KINDS, _perturbed
from tests.methods.corruptions.test_sized import fine_energy, pictures

INSTALLED = importlib.util.find_spec("nrtk") is not None
needs_nrtk = pytest.mark.skipif(not INSTALLED, reason="needs nrtk")

#: The whole sensor compiles for minutes, and has a test of its own.
QUICK = [kind for kind in NRTK_KINDS if kind != "nrtk_pybsm"]


def test_seeds_are_of_the_images_and_pictures_get_the_size_of_the_image():
    def change(image, seed):
        noise = np.random.default_rng(seed).integers(0, 256, (20, 10, 3))
        assert image.dtype == np.uint8
        assert image.shape == (12, 12, 3)
        return noise.astype(np.uint8)

    images = torch.rand(3, 3, 12, 12)
    whole = _perturbed(images, Randomness(0).for_examples("abc"), change)
    assert whole.shape == images.shape
    assert whole.min() >= 0
    assert whole.max() <= 1
    alone = _perturbed(images[1:2], Randomness(0).for_examples("b"), change)
    assert torch.equal(alone, whole[1:2])
    assert not torch.equal(whole[0], whole[1])
    assert not torch.equal(_perturbed(images, Randomness(1).for_examples("abc"), change), whole)


@pytest.mark.skipif(INSTALLED, reason="nrtk is installed")
def test_without_the_package_the_extra_is_named():
    with pytest.raises(
        MissingExtraError, match=r"needs the package 'nrtk'; install it with: pip install 'snellen\[nrtk\]'"
    ):
        nrtk_kinds.nrtk_haze(torch.rand(1, 3, 8, 8), Randomness(0).bind(1), depth=1.0)
    check = CommonCorruptions(also=("nrtk_jitter",))
    model, images = snellen.load_classifier("bundled:fashion-cnn"), snellen.load_images("bundled:fashion-mnist")
    with pytest.raises(MissingExtraError, match="nrtk"):
        check.seeing(images, model)  # before anything is measured


@pytest.mark.parametrize(
    ("kind", "made", "seen"),
    [
        ("nrtk_haze", {"factor": 1.0}, {}),
        ("nrtk_radial_distortion", {"k": [0.35, 0.0, 0.0]}, {}),
        ("nrtk_defocus", {"w_x": 0.00015, "w_y": 0.00015}, {"img_gsd": 0.1}),
        ("nrtk_jitter", {"s_x": 0.00008, "s_y": 0.00008}, {"img_gsd": 0.1}),
        ("nrtk_turbulence", {"cn2_at_1m": 3e-13}, {"img_gsd": 0.1}),
        ("nrtk_detector", {"w_x": 0.000012, "w_y": 0.000012}, {"img_gsd": 0.1}),
        ("nrtk_pybsm", {"ground_range": 60000.0}, {"img_gsd": 0.1}),
    ],
)
def test_perturbers_get_the_strength_of_severity_3_in_their_units(monkeypatch, kind, made, seen):
    """Without the package: what it is called with, image by image; the whole sensor gets a seed of each image."""
    calls = []

    def perturber(**given):
        return lambda image, **more: (calls.append((given, more)), (255 - image[::2], None))[1]

    monkeypatch.setattr(nrtk_kinds, "_class", lambda module, name: perturber)
    images = pictures(28)[:2]
    changed = corrupt(images, benchmark("sized"), kind, 3, Randomness(0).for_examples("ab"))
    assert changed.shape == images.shape
    assert float((changed - (1 - images)).abs().mean()) < 0.05, "brought back to the size of the image"
    assert [more for _, more in calls] == [seen] * 2
    seeds = [given.pop("seed", None) for given, _ in calls if given]
    assert all(given == made for given, _ in calls)
    if kind == "nrtk_pybsm":
        assert None not in seeds
        assert len(set(seeds)) == 2
    else:
        assert not any(seeds)


@needs_nrtk
def test_the_whole_sensor_draws_its_noise_by_the_seed():
    """The farther, the fewer pixels it has; slow, as it is compiled first."""
    images = pictures(28)[:1]
    rng = Randomness(0).for_examples("a")
    first, again = (corrupt(images, benchmark("sized"), "nrtk_pybsm", 5, rng) for _ in range(2))
    other = corrupt(images, benchmark("sized"), "nrtk_pybsm", 5, Randomness(1).for_examples("a"))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == images.shape
    assert float(fine_energy(first).sum()) < float(fine_energy(images).sum())


@needs_nrtk
@pytest.mark.parametrize("kind", QUICK)
def test_perturbers_give_equal_images_for_equal_seeds(kind):
    images = pictures(28)[:2]
    rng = Randomness(0).for_examples("ab")
    first, again = (corrupt(images, benchmark("sized"), kind, 3, rng) for _ in range(2))
    assert torch.equal(first, again)
    assert first.shape == images.shape
    assert float((first - images).abs().mean()) > 0.005, "something is done"
    assert torch.equal(corrupt(images, benchmark("sized"), kind, 0, rng), images)


@needs_nrtk
@pytest.mark.parametrize("kind", ["nrtk_defocus", "nrtk_jitter", "nrtk_turbulence", "nrtk_detector"])
@pytest.mark.parametrize("side", [28, 224])
def test_optics_take_fine_detail_at_both_sizes(kind, side):
    images = pictures(side)[:1]
    energies = [
        float(fine_energy(corrupt(images, benchmark("sized"), kind, severity, Randomness(0).bind(1))).sum())
        for severity in (1, 3, 5)
    ]
    assert energies == sorted(energies, reverse=True)
    assert energies[2] < 0.4 * float(fine_energy(images).sum())
