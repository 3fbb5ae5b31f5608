"""Audits of odd models and images: nothing crashes a run, and what could not be said is told."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

from snellen.auditing.audit import audit
from snellen.core.classifier import Classifier
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.core.run import canonical_json
from snellen.data.files.arrays import load_arrays

CHECKS = [
    "clean", "calibration", "selective", "group_gap", "slices", "label_noise", "duplicates", "leakage", "drift",
    "data_quality", {"check": "corruption", "kinds": ["contrast"], "severities": [3]},
    {"check": "adversarial", "steps": 2},
]  # fmt: skip
NAMES = ("c0", "c1", "c2")


class Blind(nn.Module):
    """A layer whose output is not a number."""

    def forward(self, images):
        return torch.full((len(images), 4), float("nan"))


class Network(nn.Module):
    def __init__(self, classes, features):
        super().__init__()
        self.features = features
        self.scores = nn.Sequential(nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(27, classes))
        with torch.no_grad():
            self.scores[2].weight.copy_(torch.randn(classes, 27, generator=torch.Generator().manual_seed(0)))

    def forward(self, images):
        self.features(images)
        return self.scores(images)


def model(side=12, classes=3, features=None, **options):
    return Classifier(
        Network(classes, features or nn.Identity()), class_names=NAMES[:classes],
        preparation=Preprocessing(size=(side, side)), feature_layer="features", **options,
    )  # fmt: skip


def images(count, side=12, labels=None, **columns):
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    given = np.random.default_rng(1).integers(0, 3, count) if labels is None else labels
    made = load_arrays(pixels, given, class_names=NAMES)
    table = made.table
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values, pa.string()))
    return ImageSet(made.source, table, class_names=NAMES, name="odd")


def decisions(classifier, count):
    given = images(count)
    batch = torch.stack([classifier.prepare(example.image) for example in given])
    return classifier(batch).argmax(1).numpy()


def run(classifier, given, **options):
    report = audit(classifier, given, checks=CHECKS, **options)
    canonical_json(report.to_json())  # nothing that is no number
    return {check.name: check for check in report.checks}, report


@pytest.mark.parametrize("count", [1, 2, 9])
def test_a_handful_of_images(count):
    statuses, report = run(model(), images(count), train=images(count))
    unable = {name: check.reason for name, check in statuses.items() if check.status != "done"}
    assert unable.keys() <= {"group_gap", "drift", "slices"}
    assert f"training has {count}, the audited set {count}" in unable["drift"]
    assert "labelled images and units" in unable["slices"]
    assert not [found for found in report.findings if found.p_value is not None]


def test_images_too_small_for_fingerprints():
    statuses, _ = run(model(side=4), images(60, 4), train=images(60, 4))
    assert statuses["duplicates"].status == "skipped"
    assert "fewer than 8 pixels" in statuses["duplicates"].reason


def test_one_class():
    one = Classifier(Network(1, nn.Identity()), class_names=["c0"], preparation=Preprocessing(size=(12, 12)))
    given = load_arrays(np.zeros((60, 12, 12, 3), dtype=np.uint8), np.zeros(60, dtype=int), class_names=["c0"])
    statuses, report = run(one, given)
    assert statuses["adversarial"].reason == "needs two classes, and classifier has one"
    assert report.metrics["clean.accuracy"].value == 1


@pytest.mark.parametrize("shift", [0, 1])
def test_all_right_and_all_wrong(shift):
    classifier = model()
    labels = (decisions(classifier, 150) + shift) % 3
    statuses, report = run(classifier, images(150, labels=labels))
    assert report.metrics["clean.accuracy"].value == 1 - shift
    assert {check.status for check in statuses.values()} <= {"done", "skipped"}


def test_no_labels():
    unlabelled = load_arrays(np.random.default_rng(0).integers(0, 256, (60, 12, 12, 3), dtype=np.uint8))
    statuses, report = run(model(), unlabelled, train=unlabelled)
    assert {name for name, check in statuses.items() if check.status == "done"} == {
        "clean", "duplicates", "leakage", "drift", "data_quality",
    }  # fmt: skip
    assert {found.kind for found in report.findings} == {"leakage"}, "a set that is its own training set"


def test_labels_only():
    network = Network(3, nn.Identity())

    def one_hot(batch):
        return nn.functional.one_hot(network(batch).argmax(1), 3).float()

    labels_only = Classifier(one_hot, class_names=NAMES, preparation=Preprocessing(size=(12, 12)), output="labels")
    statuses, _ = run(labels_only, images(150))
    for name in ("calibration", "selective", "slices", "label_noise"):
        assert statuses[name].reason == "needs scores, and classifier gives none"
    assert statuses["duplicates"].status == "done"


def test_equal_images():
    given = load_arrays(np.full((150, 12, 12, 3), 7, dtype=np.uint8), np.arange(150) % 3, class_names=NAMES)
    _, report = run(model(), given, train=given)
    assert any(found.kind == "duplicate" and found.facts["surplus_images"] == 149 for found in report.findings)


def test_two_units():
    given = images(160, unit_id=[f"patient {n % 2}" for n in range(160)])
    statuses, report = run(model(), given, train=given)
    assert statuses["slices"].status == "skipped"
    assert report.data["units"] == 2


def test_what_one_check_cannot_use_costs_no_other():
    statuses, report = run(model(features=Blind()), images(160))
    assert statuses["slices"].status == "failed"
    assert "finite" in statuses["slices"].reason
    assert statuses["corruption"].status == "done"
    assert report.metrics["clean.accuracy"].n == 160


class Sometimes(nn.Module):
    """Features that are no numbers for bright corners alone."""

    def forward(self, images):
        found = images.flatten(1)[:, :16].clone()
        found[images[:, 0, 0, 0] > 0.95] = float("nan")
        return found


def test_images_without_features_are_left_out_of_the_checks_that_read_them():
    given = images(160)
    lost = sum(example.image.getpixel((0, 0))[0] / 255 > 0.95 for example in given)
    assert 0 < lost < 30
    statuses, report = run(model(features=Sometimes()), given)
    assert {check.status for check in statuses.values()} <= {"done", "skipped"}
    assert f"Checks that read features leave out {lost} images whose features are not finite." in report.notes
    assert report.metrics["clean.accuracy"].n == 160
