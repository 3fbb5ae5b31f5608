"""A classifier that learned its training images by heart is found; one that did not, and leaked images, are not."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from snellen.auditing.audit import audit
from snellen.auditing.checks.membership import AREA_HARM
from snellen.core.classifier import Classifier
from snellen.core.preprocessing import Preprocessing
from snellen.data.files.arrays import load_arrays
from snellen.metrics.membership_area import membership_area

SIDE, EACH = 8, 200


def drawn(seed: int, count: int = EACH) -> tuple[np.ndarray, np.ndarray]:
    """Noise, a little brighter for class 1."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    pixels = rng.integers(0, 200, (count, SIDE, SIDE)) + 6 * labels[:, None, None]
    return pixels.astype(np.uint8), labels


def fitted(pixels: np.ndarray, labels: np.ndarray, steps: int) -> Classifier:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 64), nn.ReLU(), nn.Linear(64, 2))
    seen = torch.tensor(pixels / 255, dtype=torch.float32)[:, None].expand(-1, 3, -1, -1)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.003)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(seen), torch.tensor(labels)).backward()
        optimizer.step()
    return Classifier(network.eval(), class_names=["dark", "bright"], preparation=Preprocessing(size=(SIDE, SIDE)))


def set_of(pixels: np.ndarray, labels: np.ndarray):
    return load_arrays(pixels, labels, class_names=["dark", "bright"], name="noise")


def found(report):
    return [finding for finding in report.findings if finding.kind == "membership"]


def test_an_overfitted_classifier_gives_its_training_images_away():
    train, test = drawn(0), drawn(1)
    report = audit(fitted(*train, steps=300), set_of(*test), train=set_of(*train), checks=["membership"])
    (finding,) = found(report)
    assert report.metrics["membership.attack_auroc"].value > 0.75
    assert finding.harm == 0.005
    assert finding.facts["accuracy_on_training_images"] > 0.98
    assert "snellen forget" in finding.treatments[0]


def test_a_classifier_that_saw_other_images_does_not():
    seen, train, test = drawn(0), drawn(2), drawn(1)
    report = audit(fitted(*seen, steps=300), set_of(*test), train=set_of(*train), checks=["membership"])
    measured = report.metrics["membership.attack_auroc"]
    assert not found(report)
    assert measured.low < 0.5 < measured.high


def test_audited_images_that_were_trained_on_are_left_out():
    train, test = drawn(0), drawn(1)
    leaked = tuple(np.concatenate([first, second]) for first, second in zip(train, test, strict=True))
    classifier = fitted(*train, steps=300)
    with_leaks = audit(classifier, set_of(*leaked), train=set_of(*train), checks=["membership"])
    without = audit(classifier, set_of(*test), train=set_of(*train), checks=["membership"])
    assert with_leaks.metrics["membership.attack_auroc"] == without.metrics["membership.attack_auroc"]


def test_too_few_images_are_said_to_be_too_few():
    train, test = drawn(0), drawn(1, 20)
    report = audit(fitted(*train, steps=300), set_of(*test), train=set_of(*train), checks=["membership"])
    assert "membership.attack_auroc" not in report.metrics
    status = {one.name: (one.status, one.reason) for one in report.checks}
    assert status["membership"][0] == "skipped"
    assert "needs 30 labelled training images" in status["membership"][1]


def test_without_training_images_it_is_skipped_with_the_option_that_brings_them():
    pixels, labels = drawn(1)
    report = audit(fitted(pixels, labels, steps=1), set_of(pixels, labels), checks=["clean", "membership"])
    (row,) = (row for row in report.checks if row.name == "membership")
    assert row.status == "skipped"
    assert "--train DATA" in row.reason


def test_the_harm_of_a_leak_grows_with_its_area():
    rng = np.random.default_rng(0)
    units = np.arange(200)
    labels = np.repeat([0, 1], 100)
    sizes = []
    for gap in (0.0, 0.8, 1.6, 4.0):
        area = membership_area(
            rng.normal(gap, 1, 200), rng.normal(0, 1, 200), labels, labels, member_units=units, non_member_units=units
        )
        low = area.lower(0.95)
        sizes.append(next(harm for bound, harm in AREA_HARM if low >= bound))
    assert sizes == [0.0, 0.005, 0.05, 0.2]
