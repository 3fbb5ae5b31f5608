"""Foreign images in an audit: each named, against validation or training images, with harm where the model errs."""

import csv
import json

import numpy as np
import pytest
import torch
from torch import nn

import snellen
from snellen.core.classifier import Classifier
from snellen.core.preprocessing import Preprocessing

NAMES = ("dark", "light")
FOREIGN = 30


class Bright(nn.Module):
    """Decides by brightness; the features are those of the pixels."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(192, 2)
        nn.init.constant_(self.layer.weight[0], -0.05)
        nn.init.constant_(self.layer.weight[1], 0.05)
        nn.init.constant_(self.layer.bias, 0.0)
        self.layer.bias.data[0] = 9.6

    def forward(self, images):
        return self.layer(images.flatten(1))


def pictures(n, seed, foreign=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    pixels = rng.normal(90 + 70 * labels[:, None, None, None], 25, (n, 8, 8, 3))
    # Stripes, which no other image has, and which make light images dark.
    pixels[:foreign, ::2] = 0
    pixels[:foreign, 1::2] = 160
    return np.clip(pixels, 0, 255).astype(np.uint8), labels


def audit(images, model=None, **more):
    classifier = Classifier(
        model or Bright(),
        class_names=NAMES,
        preparation=Preprocessing(size=(8, 8)),
        feature_layer=getattr(model, "features", None),
        name="bright",
    )
    pixels, labels = images
    return snellen.audit(
        classifier,
        snellen.load_images((pixels, labels), class_names=NAMES),
        checks=["clean", "out_of_distribution"],
        **{name: snellen.load_images(one, class_names=NAMES) for name, one in more.items() if name in ("train", "val")},
        **{name: one for name, one in more.items() if name not in ("train", "val")},
    )


def found(report):
    return next((one for one in report.findings if one.kind == "out_of_distribution"), None)


@pytest.mark.parametrize("against", ["train", "val"])
def test_planted_images_are_named_one_by_one(tmp_path, against):
    report = audit(pictures(500, 100, FOREIGN), **{against: pictures(900, 101)}, out=tmp_path / "run")
    finding = found(report)
    assert finding is not None
    with (tmp_path / "run" / "lists" / "out_of_distribution.csv").open() as file:
        named = {row["id"] for row in csv.DictReader(file)}
    planted = set(snellen.load_images(pictures(500, 100)).ids[:FOREIGN])
    assert planted <= named
    assert len(named - planted) <= 8  # the rate holds on average: tests/metrics/inspection/test_conformal.py
    assert {example.example_id for example in finding.examples} <= planted
    assert finding.facts["named"] == len(named)
    assert finding.facts["accuracy"] < finding.facts["accuracy_elsewhere"]
    assert finding.harm > 0
    assert f"unlike the {'training' if against == 'train' else 'validation'} images" in finding.title
    share = report.metrics["out_of_distribution.share"]
    assert share.low <= FOREIGN / 500 <= share.high
    assert share.low > 0
    listed = json.loads((tmp_path / "run" / "lists" / "out_of_distribution.json").read_text())
    assert sum(row["named"] for row in listed) == len(named)
    assert all(row["p"] <= 0.05 for row in listed)


def test_like_images_give_no_finding():
    report = audit(pictures(500, 100), train=pictures(900, 101))
    assert found(report) is None
    assert report.metrics["out_of_distribution.share"].low == 0


def test_tuning_images_come_before_training_images():
    note = next(one for one in audit(pictures(200, 0), train=pictures(300, 1), val=pictures(200, 2)).notes
                if one.startswith("Images are compared"))  # fmt: skip
    assert "200 validation images" in note


def test_too_few_images_to_compare_with_are_no_comparison():
    report = audit(pictures(200, 0), train=pictures(30, 1))
    status = next(one for one in report.checks if one.name == "out_of_distribution")
    assert status.status == "skipped"
    assert "needs 50 images or units that can be used to compare with; there are 30 of the training images" in str(
        status.reason
    )


def test_without_any_to_compare_with_the_reason_names_both_options():
    status = next(one for one in audit(pictures(100, 0)).checks if one.name == "out_of_distribution")
    assert status.status == "skipped"
    assert "--train DATA, --val DATA" in str(status.reason)


class Spoiling(nn.Module):
    """NaN among the features of images whose first value is 1."""

    def forward(self, images):
        flat = images.flatten(1)
        return torch.where((flat[:, :1] == 1) & (torch.arange(192) == 7), torch.nan, flat)


class Spoilt(Bright):
    """Finite scores, whatever its features are."""

    features = "spoiling"

    def __init__(self):
        super().__init__()
        self.spoiling = Spoiling()

    def forward(self, images):
        self.spoiling(images)
        return super().forward(images)


def test_images_without_finite_features_are_left_out_and_counted(tmp_path):
    audited, known = pictures(500, 100, FOREIGN), pictures(900, 101)
    for (pixels, _), spoilt in ((audited, slice(40, 44)), (known, slice(0, 3))):
        pixels[:, 0, 0, 0] = np.minimum(pixels[:, 0, 0, 0], 254)
        pixels[spoilt, 0, 0, 0] = 255
    report = audit(audited, Spoilt(), val=known, out=tmp_path / "run")
    assert found(report) is not None
    notes = " ".join(report.notes)
    assert (
        "Checks that read features leave out 4 images and 3 validation images whose features are not finite." in notes
    )
    assert "compared with 897 validation images" in notes
    assert report.metrics["out_of_distribution.share"].n == 496
