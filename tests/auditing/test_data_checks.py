"""Planted duplicates, leaks, label noise, drift, slices and bad images, found on real thumbnails by whole audits."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import snellen
from snellen.auditing.audit import audit
from snellen.data.arrays import load_arrays
from snellen.data.bundled import FASHION_CLASSES
from snellen.images import ImageSet


@pytest.fixture(scope="module")
def thumbnails() -> tuple[np.ndarray, np.ndarray]:
    """Pixels (2000, 28, 28) and labels of the bundled test images."""
    images = snellen.load_images("bundled:fashion-mnist")
    return np.stack([np.asarray(example.image.convert("L")) for example in images]), images.labels


@pytest.fixture(scope="module")
def classifier():
    return snellen.load_classifier("bundled:fashion-cnn")


def image_set(pixels: np.ndarray, labels: np.ndarray | None, **columns: list) -> ImageSet:
    images = load_arrays(pixels, labels, class_names=FASHION_CLASSES if labels is not None else None, name="planted")
    table = images.table
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values, pa.string()))
    return ImageSet(images.source, table, class_names=images.class_names, name="planted")


def found(report, kind: str) -> dict[str, object]:
    return {finding.subject: finding for finding in report.findings if finding.kind == kind}


def through_jpeg(pixels: np.ndarray) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=92)
    return np.asarray(Image.open(stream))


def test_exact_and_near_duplicates(classifier, thumbnails) -> None:
    pixels, labels = (part[:600].copy() for part in thumbnails)
    pixels[500:520], labels[500:520] = pixels[:20], labels[:20]  # exact
    pixels[520:540] = [through_jpeg(one) for one in pixels[20:40]]
    labels[500] = (labels[500] + 1) % 10
    report = audit(classifier, image_set(pixels, labels), checks=["duplicates"])
    duplicates = found(report, "duplicate")
    exact, near = duplicates["exact"], duplicates["near"]
    assert exact.facts["surplus_images"] == 20
    assert exact.harm == pytest.approx(20 / 600)
    assert exact.facts["groups_with_different_labels"] == 1
    assert exact.examples[0].caption.startswith("group 1"), "the group whose labels contradict each other comes first"
    assert 16 <= near.facts["surplus_images"] <= 24, "JPEG at quality 92, of 20"
    assert not found(audit(classifier, image_set(*(p[:500] for p in thumbnails)), checks=["duplicates"]), "duplicate")


def test_leaks_from_training_and_between_splits(classifier, thumbnails) -> None:
    pixels, labels = thumbnails
    train = image_set(pixels[:400], labels[:400], unit_id=[f"patient {n // 4}" for n in range(400)])
    tested = np.concatenate([pixels[390:400], [through_jpeg(one) for one in pixels[:10]], pixels[400:680]])
    units = [None] * 30 + ["patient 7"] * 5 + [f"patient {n}" for n in range(1000, 1265)]
    test = image_set(tested, np.concatenate([labels[390:400], labels[:10], labels[400:680]]), unit_id=units)
    leaks = found(audit(classifier, test, checks=["leakage"], train=train), "leakage")
    assert leaks["exact, training"].facts["images"] == 10
    assert leaks["exact, training"].harm == pytest.approx(10 / 300)
    assert 7 <= leaks["near, training"].facts["images"] <= 12
    assert leaks["unit, training"].facts["images"] == 5
    both = image_set(
        np.concatenate([pixels[:300], pixels[280:400]]),
        np.concatenate([labels[:300], labels[280:400]]),
        split=["train"] * 300 + ["test"] * 120,
    )
    leaks = found(audit(classifier, both, checks=["leakage"]), "leakage")
    assert leaks["exact, the split train"].facts["images"] == 20
    apart = image_set(pixels[:300], labels[:300], split=["train"] * 200 + ["test"] * 100)
    assert not found(audit(classifier, apart, checks=["leakage"]), "leakage")
    (skipped,) = [c for c in audit(classifier, test, checks=["leakage"]).checks if c.name == "leakage"]
    assert skipped.reason == "compares with train images or between splits, and none were given (--train DATA)"


def test_label_noise_is_told_and_healthy_labels_are_not(classifier, thumbnails) -> None:
    pixels, labels = thumbnails
    healthy = audit(classifier, image_set(pixels, labels), checks=["label_noise"])
    assert not found(healthy, "label_noise")
    wrong, rng = labels.copy(), np.random.default_rng(0)
    for first, second in ((0, 6), (6, 0)):
        rows = np.flatnonzero(labels == first)
        wrong[rng.choice(rows, len(rows) // 5, replace=False)] = second
    planted = np.flatnonzero(wrong != labels)
    report = audit(classifier, image_set(pixels, wrong), checks=[{"check": "label_noise", "examples": 30}])
    finding = found(report, "label_noise")[""]
    assert finding.harm > 0.005
    shown = [int(example.example_id) for example in finding.examples]
    assert len(set(shown) & set(planted.tolist())) >= 24, "most of the first thirty suspects are planted"


def test_a_hidden_subgroup_ranks_first_among_slices(classifier, thumbnails) -> None:
    pixels, labels = thumbnails[0].copy(), thumbnails[1]
    hidden = np.random.default_rng(0).random(len(pixels)) < 0.05
    pixels[hidden] = 255 - pixels[hidden]
    slices = found(audit(classifier, image_set(pixels, labels), checks=["slices"]), "slice")
    first = next(iter(slices.values()))
    shown = [int(example.example_id) for example in first.examples]
    assert np.mean(hidden[shown]) > 0.9
    assert "brighter than the rest" in first.title
    assert first.facts["accuracy_elsewhere"] - first.facts["accuracy"] > 0.4
    assert first.harm > 0.01


def test_drift_is_told_and_none_where_there_is_none(classifier, thumbnails) -> None:
    pixels, labels = thumbnails
    train = image_set(pixels[:1000], labels[:1000])
    same = audit(classifier, image_set(pixels[1000:], labels[1000:]), checks=["drift"], train=train)
    assert not found(same, "drift")
    darker = (pixels[1000:] * 0.7).astype(np.uint8)
    drift = found(audit(classifier, image_set(darker, labels[1000:]), checks=["drift"], train=train), "drift")
    assert {"features", "brightness"} <= set(drift)
    assert "darker than training images" in drift["brightness"].title
    assert drift["features"].facts["auroc"] > 0.6
    chosen = np.flatnonzero(labels[1000:] < 5) + 1000
    labels_drift = found(
        audit(classifier, image_set(pixels[chosen], labels[chosen]), checks=["drift"], train=train), "drift"
    )
    assert labels_drift["labels"].facts["total_variation"] > 0.3


def test_constant_images_are_told_and_groups_compared(classifier, thumbnails) -> None:
    pixels, labels = (part[:400].copy() for part in thumbnails)
    pixels[:25] = 40
    report = audit(
        classifier,
        image_set(pixels, labels, group=["scanner"] * 50 + ["camera"] * 350),
        checks=["data_quality", "group_gap"],
    )
    quality, gaps = found(report, "data_quality"), found(report, "group_gap")
    assert quality["constant images"].facts["images"] == 25
    assert quality["constant"].facts["accuracy"] < 0.4
    assert quality["constant"].harm > 0.01
    assert set(gaps) == {"scanner"}
    assert report.metrics["group_gap.worst_accuracy"].n == 50
