"""Scores and thresholds of several labels an image: what they are worth on other images, and what they leave alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from snellen.core.finding import Finding
from snellen.core.label_decisions import decided, label_logits
from snellen.core.randomness import Randomness
from snellen.methods.treatments.label_scores import LabelPlatt, LabelTemperature, LabelThresholds, ScaledLabels
from snellen.methods.treatments.score_scaling import ScaledScores
from snellen.methods.treatments.treatment import Patient, treat_together
from snellen.models.classifiers.onnx_export import export_onnx
from snellen.models.classifiers.references import load_classifier
from snellen.models.classifiers.trainable import trainable, trained_classifier
from snellen.training.batches import ImageStore

NAMES = ("rare", "sure", "fair")


class Amounts(nn.Module):
    """Scores by the mean of each channel: the first label is hardly ever given, the second four times too sure."""

    def __init__(self, *, sigmoid: bool = False) -> None:
        super().__init__()
        self.last = nn.Linear(3, 3)
        with torch.no_grad():
            self.last.weight.copy_(torch.diag(torch.tensor([4.0, 16.0, 4.0])))
            self.last.bias.copy_(torch.tensor([-6.0, -8.0, -2.0]))
        self.sigmoid = nn.Sigmoid() if sigmoid else nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.sigmoid(self.last(images.mean((2, 3))))


def drawn(count: int, seed: int) -> ImageStore:
    """Amounts are drawn, and labels with the probability 1 / (1 + exp(−4 (amount − 1/2)))."""
    rng = np.random.default_rng(seed)
    amounts = rng.random((count, 3)).astype(np.float32)
    labels = (rng.random((count, 3)) < 1 / (1 + np.exp(-4 * (amounts - 0.5)))).astype(np.int8)
    images = torch.from_numpy(amounts)[:, :, None, None].expand(-1, -1, 2, 2).clone()
    return ImageStore.of_tensors(images, torch.from_numpy(labels))


def case(*findings: Finding, sigmoid: bool = False, val: ImageStore | None = None) -> Patient:
    given = load_classifier(Amounts(sigmoid=sigmoid), NAMES, task="multi_label", size=2)
    return Patient(given, findings, val or drawn(400, 0))


def of(kind: str, label: str) -> Finding:
    return Finding(kind=kind, subject=label, harm=0.1, title="planted", facts={"label": label})


def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Of each label."""
    return nn.functional.binary_cross_entropy_with_logits(logits, labels.float(), reduction="none").mean(0)


@pytest.mark.parametrize("sigmoid", [False, True])
@pytest.mark.parametrize("treatment", [LabelTemperature(), LabelPlatt()])
@torch.no_grad()
def test_a_named_label_is_calibrated_and_nothing_else_changes(treatment, sigmoid):
    named = "rare" if treatment.name == "label_scaling" else "sure"
    patient, other = case(of("calibration", named), sigmoid=sigmoid), drawn(800, 1)
    network = treatment.treat(trainable(patient.classifier), patient, rng=Randomness(0)).eval()
    assert isinstance(network.network, ScaledLabels) == sigmoid, "a last layer takes up what is done to logits"
    assert not isinstance(network.network, ScaledScores)
    output = patient.classifier.output
    before, after = (label_logits(one(other.images), output) for one in (trainable(patient.classifier).eval(), network))
    gained = loss(before, other.targets) - loss(after, other.targets)
    place = NAMES.index(named)
    assert gained[place] > 0.1
    assert all(abs(float(gained[at])) < 1e-5 for at in range(3) if at != place)
    made = trained_classifier(patient.classifier, network, "treated")
    old, new = (
        patient.classifier.predict(trainable(patient.classifier)(other.images)),
        made.predict(network(other.images)),
    )
    assert torch.equal(old, new), "no decision changes, because the threshold moves along"
    assert (made.thresholds is None) == (treatment.name == "label_temperature")


@torch.no_grad()
def test_a_threshold_balances_a_named_label_and_leaves_scores_and_others():
    patient, other = case(of("worst_class", "rare"), sigmoid=True), drawn(800, 1)
    network = LabelThresholds().treat(trainable(patient.classifier), patient, rng=Randomness(0))
    scores = network(other.images)
    assert torch.equal(scores, trainable(patient.classifier)(other.images))
    made = trained_classifier(patient.classifier, network, "treated")
    truth = other.targets.bool()

    def recalls(given: torch.Tensor) -> list[float]:
        return [float(given[truth[:, 0], 0].double().mean()), float((1 - given[~truth[:, 0], 0]).double().mean())]

    assert recalls(patient.classifier.predict(scores))[0] < 0.1
    assert min(recalls(made.predict(scores))) > 0.55
    assert made.thresholds[1:] == (0.5, 0.5)
    assert made.fingerprint() != patient.classifier.fingerprint(), "another threshold is another classifier"


def test_scores_are_treated_before_thresholds_are_chosen():
    patient = case(of("calibration", "rare"), of("threshold", "rare"))
    alone = LabelThresholds().treat(trainable(patient.classifier), patient, rng=Randomness(0))
    both = treat_together([LabelThresholds(), LabelPlatt()], trainable(patient.classifier), patient, rng=Randomness(0))
    assert both.thresholds[0] > 3 * alone.thresholds[0], "the threshold is that of the calibrated score"
    with torch.no_grad():
        first, second = (
            decided(one(patient.val.images), "logits", one.thresholds)[:, 0] for one in (alone, both.eval())
        )
    assert torch.equal(first, second)


def test_labels_that_few_images_show_and_models_of_decisions_are_refused():
    few = drawn(400, 0)
    few.targets[9:, 1] = -1
    patient = case(of("calibration", "sure"), val=few)
    assert "10 validation images with a label and 10 without it, of sure" in LabelPlatt().refusal(
        trainable(patient.classifier), patient
    )
    known = replace(patient, findings=(of("calibration", "sure"), of("calibration", "rare")))
    network = LabelTemperature().treat(trainable(patient.classifier), known, rng=Randomness(0))
    assert network.network.last.weight[1, 1] == 16, "what is refused of one label is done for the other"
    assert network.network.last.weight[0, 0] != 4
    patient.classifier.output = "labels"
    assert "gives decisions only" in LabelThresholds().refusal(trainable(patient.classifier), patient)


@torch.no_grad()
def test_thresholds_of_labels_that_are_not_named_are_exactly_those_that_were_given():
    patient = case(of("calibration", "rare"), of("threshold", "rare"))
    given = (0.5, 0.3, 0.07)
    for one in (LabelPlatt(), LabelThresholds()):
        network = trainable(patient.classifier)
        network.thresholds = given
        made = one.treat(network, patient, rng=Randomness(0))
        assert made.thresholds[0] != 0.5
        assert made.thresholds[1:] == given[1:]


def test_what_is_scaled_behind_a_sigmoid_is_written_as_onnx(tmp_path):
    patient = case(of("calibration", "sure"), sigmoid=True)
    with torch.no_grad():  # probabilities that ONNX Runtime rounds to 0
        patient.classifier.module.model.last.bias[2] = -60
    network = LabelPlatt().treat(trainable(patient.classifier), patient, rng=Randomness(0)).eval()
    made = trained_classifier(patient.classifier, network, "treated")
    again = load_classifier(f"onnx:{export_onnx(made, tmp_path / 'model.onnx')}")
    images = drawn(50, 1).images
    with torch.no_grad():
        mine, theirs = (one.probabilities(one(images)) for one in (made, again))
    assert torch.allclose(mine, theirs, atol=1e-4)
    assert again.thresholds == made.thresholds
