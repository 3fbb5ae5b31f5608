"""Fine-tuning under damage that was found: of a family the kinds that were measured."""

from types import SimpleNamespace

import pytest
import torch

from snellen.auditing.checks.corruption import CommonCorruptions
from snellen.core.randomness import Randomness
from snellen.methods.corruptions.apply import corrupt
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
        corruption_tuning,
        "damage_at_severities",
        lambda chosen, kinds, severities: tuple((chosen.name, kind) for kind in kinds),
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


def test_images_are_damaged_as_the_audit_damages_them_at_every_severity(monkeypatch):
    """Of whole-numbered parameters none is left out: two passes of glass blur, at its last two severities."""
    monkeypatch.setattr(corruption_tuning, "steady_changes", lambda patient: None)
    images = torch.rand(200, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    rng = Randomness(0).for_examples([str(one) for one in range(200)])
    asked = []

    def noted(images, chosen, kind, severity, rng):
        asked.append((kind, severity))
        return corrupt(images, chosen, kind, severity, rng)

    monkeypatch.setattr(corruption_tuning, "corrupt", noted)
    for severities in ((1, 2, 3, 4, 5), (2.5,)):
        check = CommonCorruptions(benchmark="imagenet-c", kinds=("glass_blur",), severities=severities)
        patient = SimpleNamespace(checks={"corruption": check}, subjects=lambda _kind: ("glass_blur",))
        transform = CorruptionTuning().term(patient, rng=Randomness(0)).transforms[0]
        asked.clear()
        changed, _ = transform(images, torch.zeros(200), rng)
        assert sorted(asked) == [("glass_blur", severity) for severity in severities]
        assert (changed != images).flatten(1).any(1).all()
        again, _ = transform(images[:7], torch.zeros(7), rng[range(7)])
        torch.testing.assert_close(again, changed[:7])  # whatever else is in the batch


def test_the_longer_training_takes_smaller_batches_and_strong_damage_is_frequent(monkeypatch):
    monkeypatch.setattr(corruption_tuning, "steady_changes", lambda patient: None)
    drawn = []
    monkeypatch.setattr(
        corruption_tuning,
        "corrupt",
        lambda images, chosen, kind, severity, rng: drawn.extend([severity] * len(images)) or images,
    )
    patient = SimpleNamespace(checks={}, subjects=lambda _kind: ("fog",), training=range(1000))
    tuning = CorruptionTuning()
    longer = tuning.longer(patient)
    assert longer.plan.batch_size == tuning.plan.batch_size // 2
    assert longer.plan.epochs == 3 * tuning.plan.passes(1000)
    transform = tuning.term(patient, rng=Randomness(0)).transforms[0]
    rng = Randomness(0).for_examples([str(one) for one in range(1500)])
    transform(torch.zeros(1500, 3, 2, 2), torch.zeros(1500), rng)
    shares = [drawn.count(severity) / 1500 for severity in (1, 2, 3, 4, 5)]
    assert shares == pytest.approx([severity / 15 for severity in (1, 2, 3, 4, 5)], abs=0.03)
