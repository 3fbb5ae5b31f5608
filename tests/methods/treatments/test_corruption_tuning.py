"""Fine-tuning under damage that was found: of a family the kinds that were measured."""

from types import SimpleNamespace

import pytest

from snellen.auditing.checks.corruption import CommonCorruptions
from snellen.core.randomness import Randomness
from snellen.methods.treatments import corruption_tuning
from snellen.methods.treatments.corruption_tuning import CorruptionTuning


@pytest.mark.parametrize(
    ("checks", "subjects", "expected"),
    [
        (
            {"corruption": CommonCorruptions(kinds=("fog", "gaussian_blur", "motion_blur"))},
            ("blur",),
            [("sized", "gaussian_blur"), ("sized", "motion_blur")],
        ),
        (
            {"corruption": CommonCorruptions(benchmark="bloodmnist")},
            ("pixelate",),
            [("bloodmnist", "pixelate")],
        ),
        ({}, ("fog",), [("imagenet-c", "fog")]),
    ],
)
def test_kinds_that_are_trained_on(monkeypatch, checks, subjects, expected):
    monkeypatch.setattr(corruption_tuning, "targeted_augmentation", lambda chosen, kinds: (chosen.name, *kinds))
    patient = SimpleNamespace(checks=checks, subjects=lambda kind: subjects if kind == "corruption" else ())
    assert list(CorruptionTuning().term(patient, rng=Randomness(0)).transforms) == expected
