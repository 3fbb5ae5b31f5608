"""Fine-tuning under damage that was found: of a family the kinds that were measured."""

from types import SimpleNamespace

import pytest
import torch

from snellen.auditing.checks.corruption import CommonCorruptions
from snellen.core.randomness import Randomness
from snellen.methods.treatments import corruption_tuning
from snellen.methods.treatments.corruption_tuning import CorruptionTuning
from snellen.methods.treatments.steady_changes import OFTEN
from snellen.training.transforms import one_of


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
    monkeypatch.setattr(
        corruption_tuning, "_damage", lambda chosen, kinds: tuple((chosen.name, kind) for kind in kinds)
    )
    monkeypatch.setattr(corruption_tuning, "steady_changes", lambda patient: None)
    patient = SimpleNamespace(checks=checks, subjects=lambda kind: subjects if kind == "corruption" else ())
    found = CorruptionTuning().term(patient, rng=Randomness(0)).transforms
    assert list(found) == [tuple(expected)] * OFTEN


def test_most_images_of_the_training_are_damaged_however_many_kinds_there_are(monkeypatch):
    """A kind that leaves half of the images as they are would be learned in half of the steps."""
    monkeypatch.setattr(corruption_tuning, "steady_changes", lambda patient: None)
    images = torch.rand(300, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    rng = Randomness(0).for_examples([str(one) for one in range(300)])
    for kinds in (("impulse_noise",), ("impulse_noise", "gaussian_noise", "contrast")):
        patient = SimpleNamespace(checks={}, subjects=lambda _kind, kinds=kinds: kinds)
        transforms = CorruptionTuning().term(patient, rng=Randomness(0)).transforms
        changed, _ = one_of(*transforms)(images, torch.zeros(300), rng)
        struck = (changed != images).flatten(1).any(1).float().mean()
        assert 0.6 < struck < 0.73, "two of three"
