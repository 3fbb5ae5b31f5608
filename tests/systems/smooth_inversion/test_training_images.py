"""Training images beside a backdoor: named where they form a second cluster, and not where they do not."""

import json

import numpy as np
import torch
from torch import nn

from snellen.auditing.audit import audit
from snellen.core.classifier import Classifier
from snellen.core.preprocessing import Preprocessing
from snellen.data.files.arrays import load_arrays
from snellen.systems.smooth_inversion.check import BackdoorCheck
from snellen.systems.smooth_inversion.training_images import COMMAND
from tests.systems.smooth_inversion.toy_models import NAMES, PATCH, SIDE, TARGET, Quadrants, image_set, pixels, signs

CHECK = BackdoorCheck(epsilon=0.9, steps=10, refined_steps=25, sources=2, images=60, copies=0)


class Parts(nn.Module):
    """What the toy sees: brightness of the quadrants, and how well the pattern matches."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        quarters = nn.functional.adaptive_avg_pool2d(images.mean(1, keepdim=True), 2).flatten(1)
        match = 2 * ((images[:, *PATCH] - 0.5) * signs()).mean((1, 2, 3))
        return torch.cat([quarters, match[:, None]], 1)


class Toy(Quadrants):
    """The same decisions, from a layer of features."""

    def __init__(self) -> None:
        super().__init__(60.0, 0.1)
        self.parts = Parts()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        seen = self.parts(images)
        extra = self.strength * (seen[:, 4] - self.threshold).clamp(min=0)
        return 12 * (seen[:, :4] - 0.5) + nn.functional.pad(extra[:, None], (TARGET, len(NAMES) - TARGET - 1))


def toy():
    preparation = Preprocessing(size=(SIDE, SIDE))
    return Classifier(Toy(), class_names=NAMES, preparation=preparation, name="toy", feature_layer="parts")


def poisoned(count=400, planted=40):
    """Training images of which some of other classes carry the pattern and the target's label; ids of these."""
    images, labels = pixels(count, seed=5)
    rows = (labels != TARGET).nonzero().flatten()[:planted]
    images[rows[:, None, None, None], :, 5:8, 5:8] = 0.5 + 0.5 * signs()
    labels[rows] = TARGET
    shown = (images.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()
    held = load_arrays(np.ascontiguousarray(shown), labels.numpy(), class_names=NAMES, name="training")
    return held, {held.ids[row] for row in rows.tolist()}


def backdoors(report):
    return [finding for finding in report.findings if finding.kind == "backdoor"]


def test_planted_training_images_are_named(tmp_path):
    train, planted = poisoned()
    report = audit(toy(), image_set(80), checks=[CHECK], train=train, out=tmp_path / "run")
    (finding,) = backdoors(report)
    listed = json.loads((tmp_path / "run" / "lists" / "backdoor_training.json").read_text())
    assert {row["id"] for row in listed} == planted
    assert {row["label"] for row in listed} == {NAMES[TARGET]}
    scores = [row["score"] for row in listed]
    assert scores == sorted(scores, reverse=True)
    assert finding.facts["training_suspects"] == len(planted)
    assert finding.facts["training_images"] == int((train.labels == TARGET).sum())
    assert "lists/backdoor_training.json" in finding.treatments[1]
    assert any("form a cluster of their own" in note for note in report.notes)


def test_clean_training_images_are_not_named(tmp_path):
    report = audit(toy(), image_set(80), checks=[CHECK], train=image_set(400, seed=5), out=tmp_path / "run")
    (finding,) = backdoors(report)
    assert finding.facts["training_suspects"] == 0
    assert not (tmp_path / "run" / "lists" / "backdoor_training.json").exists()
    assert any("does not show that they are free of poison" in note for note in report.notes)


def test_too_few_training_images_are_a_note():
    report = audit(toy(), image_set(80), checks=[CHECK], train=image_set(40, seed=5))
    (finding,) = backdoors(report)
    assert finding.facts["training_images"] == 10
    assert any("10 training images are labelled one; 40 are needed" in note for note in report.notes)


def test_without_training_images_the_advice_asks_for_them():
    (finding,) = backdoors(audit(toy(), image_set(80), checks=[CHECK]))
    assert "training_suspects" not in finding.facts
    assert finding.treatments[1].endswith(COMMAND)
