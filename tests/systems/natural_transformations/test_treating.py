"""The treatment of group gaps: offered where a generator can be had, made once, better on the group that lost."""

from dataclasses import replace

import pytest
import torch

from snellen.checks.treatments import ladder
from snellen.core.finding import Finding
from snellen.core.method import build
from snellen.core.randomness import Randomness
from snellen.models.classifiers.trainable import trainable
from snellen.systems.natural_transformations import treating
from snellen.systems.natural_transformations.treating import NaturalTuning
from snellen.training.batches import ImageStore, load_batch
from snellen.training.objectives import cross_entropy
from tests.systems.natural_transformations.parts import patient_of, save_pair

FINDING = Finding(kind="group_gap", subject="two", harm=0.3, title="planted")
FAST = {
    "inversion": {"codes": 1, "steps": 1, "expansion_steps": 0, "perceptual": 0.0},
    "edits": {"count": 1, "most_changed": 1.0, "least_visible": 0.0, "least_psnr": -20.0, "draws": 2},
}


def tuning(**changes):
    return build("treatments", {"method": "natural_tuning", **FAST, **changes})


def resized(patient, side, count):
    pixels = torch.zeros(count, 3, side, side, dtype=torch.uint8)
    return replace(patient, train=ImageStore.of_tensors(pixels, torch.arange(count) % 2))


def test_it_is_offered_last_for_groups_and_slices():
    for kind in ("group_gap", "slice"):
        assert [rung.name for rung in ladder(kind)][-1] == "natural_tuning"


def test_it_says_what_it_needs(tmp_path):
    patient = patient_of(FINDING)
    network = trainable(patient.classifier)
    assert "500 training images or more, and there are 64" in str(tuning().refusal(network, patient))
    assert "images are 224 × 224" in str(tuning().refusal(network, resized(patient, 224, 4)))
    assert tuning().refusal(network, resized(patient, 32, 500)) is None
    save_pair(tmp_path)
    named = tuning(generator=tmp_path)
    assert named.refusal(network, patient) is None
    assert "16 × 16 pixels, and images are 32 × 32" in str(named.refusal(network, resized(patient, 32, 500)))
    soft = replace(patient.training, targets=torch.full((64, 2), 0.5))
    assert named.refusal(network, replace(patient, train=soft)) == "needs images with one label each"
    assert "cannot use its generator" in str(tuning(generator=tmp_path / "none").refusal(network, patient))


def test_edits_of_a_patient_are_made_once_and_add_to_the_loss(tmp_path, monkeypatch):
    save_pair(tmp_path)
    patient, method = patient_of(FINDING), tuning(generator=tmp_path, beta=0.7)
    term = method.term(patient, rng=Randomness(0))
    monkeypatch.setattr(treating, "inverted", lambda *_, **__: pytest.fail("inverted again"))
    longer = method.longer(patient)
    assert isinstance(longer, NaturalTuning)
    assert longer.editing(patient, Randomness(0)) is method.editing(patient, Randomness(0))
    network = trainable(patient.classifier)
    batch = load_batch(patient.training, torch.arange(8), Randomness(0), torch.device("cpu"))
    losses = term.objective(network, batch)
    edits = method.editing(patient, Randomness(0)).supply()
    assert len(edits.codes) == len(patient.training), "every image is edited"
    images, rows, _ = edits(network, batch, 1.0)
    assert rows.tolist() == list(range(8))
    assert float((images - batch.images).abs().mean()) > 0.01
    torch.testing.assert_close(losses, 0.7 * cross_entropy(network(images), batch.targets))
    losses.sum().backward()
    assert any(float(one.grad.abs().max()) > 0 for one in network.parameters() if one.grad is not None)
