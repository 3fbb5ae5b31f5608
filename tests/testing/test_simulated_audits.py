"""Healthy models are seldom accused, planted faults are found: a small part of what scripts/simulate_audits.py runs."""

import numpy as np
import pytest

from snellen.core.errors import UnknownNameError
from snellen.testing.simulated_audits import TELLS, World, finds_fault, simulated_audit

QUICK = ("clean", "calibration", "selective", "group_gap", "label_noise", "data_quality")
QUICK = (*QUICK, {"check": "corruption", "kinds": ["fog", "contrast", "pixelate"]})


@pytest.mark.parametrize("unit_size", [1, 8])
def test_healthy_models_are_seldom_accused(unit_size):
    findings = [simulated_audit(World(images=400, unit_size=unit_size), seed, QUICK) for seed in range(20)]
    assert sum(bool(found) for found in findings) <= 4, "5 % of 20 are 1; more than 4 happens once in 400"
    assert not any(one.level in ("moderate", "severe") for found in findings for one in found)


@pytest.mark.parametrize(
    ("fault", "size", "checks"),
    [
        ("class", 0.3, ["clean"]),
        ("group", 0.15, ["group_gap"]),
        ("calibration", 2.0, ["calibration"]),
        ("label_noise", 0.1, ["label_noise"]),
        ("corruption", 0.05, [{"check": "corruption", "kinds": ["gaussian_noise", "contrast"]}]),
        ("drift", 0.6, ["drift"]),
    ],
)
def test_a_plain_fault_is_found(fault, size, checks):
    world = World(images=1500, fault=fault, size=size)
    for seed in range(2):
        assert finds_fault(world, simulated_audit(world, seed, checks)), seed


def test_a_hidden_slice_of_a_twentieth_ranks_first_among_slices():
    world = World(images=2000, fault="slice", size=0.4)
    for seed in range(3):
        slices = [found for found in simulated_audit(world, seed, ["slices"]) if found.kind == "slice"]
        assert slices
        assert 0.02 < slices[0].facts["images"] / 2000 < 0.12
        assert slices[0].facts["accuracy_elsewhere"] - slices[0].facts["accuracy"] > 0.15


def test_the_same_seed_gives_the_same_audit():
    world = World(images=300, fault="class", size=0.3)
    first, again, other = (simulated_audit(world, seed, ["clean"]) for seed in (1, 1, 2))
    assert first == again != other


def test_a_healthy_model_has_nothing_to_tell():
    assert not finds_fault(World(), simulated_audit(World(images=300), 0, ["clean"]))
    assert set(TELLS) == {"class", "group", "slice", "calibration", "label_noise", "corruption", "drift"}
    with pytest.raises(UnknownNameError, match="unknown fault 'clas'; did you mean 'class'"):
        World(fault="clas")
    assert np.isclose(World().accuracy, 0.9)
