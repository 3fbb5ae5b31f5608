"""Planted duplicates, leaks, label noise, drift, slices and bad images, found on real thumbnails by whole audits."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch import nn

import snellen
from snellen.auditing.audit import audit
from snellen.auditing.checks.drift import Drift, _of_property
from snellen.core.classifier import Classifier
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.data.files.arrays import load_arrays
from snellen.data.files.bundled import FASHION_CLASSES
from snellen.metrics.inspection.column_drift import PropertyDrift
from snellen.metrics.inspection.drift import FeatureDrift


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


def test_exact_and_near_duplicates(classifier, thumbnails, tmp_path) -> None:
    pixels, labels = (part[:600].copy() for part in thumbnails)
    pixels[500:520], labels[500:520] = pixels[:20], labels[:20]  # exact
    pixels[520:540] = [through_jpeg(one) for one in pixels[20:40]]
    labels[500] = (labels[500] + 1) % 10
    report = audit(classifier, image_set(pixels, labels), checks=["duplicates"], out=tmp_path / "run")
    duplicates = found(report, "duplicate")
    exact, near = duplicates["exact"], duplicates["near"]
    assert exact.facts["surplus_images"] == 20
    listed = json.loads((tmp_path / "run" / "lists" / "duplicates.json").read_text())
    assert {int(row["id"]) for row in listed if row["sort"] == "exact"} == {*range(20), *range(500, 520)}
    assert exact.harm == pytest.approx(20 / 600)
    assert exact.facts["groups_with_different_labels"] == 1
    assert exact.examples[0].caption.startswith("group 1"), "the group whose labels contradict each other comes first"
    assert 16 <= near.facts["surplus_images"] <= 24, "JPEG at quality 92, of 20"
    assert exact.title == "20 images are equal to others, pixel for pixel, in 20 groups"
    assert not found(audit(classifier, image_set(*(p[:500] for p in thumbnails)), checks=["duplicates"]), "duplicate")


def test_copies_of_one_image_count_once_among_near_ones(classifier, thumbnails) -> None:
    pixels, labels = (part[:200].copy() for part in thumbnails)
    pixels[190:199], labels[190:199] = pixels[5], labels[5]
    pixels[199], labels[199] = through_jpeg(pixels[5]), labels[5]
    duplicates = found(audit(classifier, image_set(pixels, labels), checks=["duplicates"]), "duplicate")
    assert duplicates["exact"].facts["surplus_images"] == 9
    assert duplicates["exact"].title == "9 images are equal to others, pixel for pixel, in 1 group"
    assert duplicates["near"].facts["surplus_images"] == 1
    assert duplicates["near"].harm == pytest.approx(1 / 200)
    assert duplicates["near"].title == "1 image is nearly equal to others, in 1 group"


@pytest.mark.parametrize(("kind", "table", "left"), [("duplicate", "unique", 192), ("leakage", "unleaked", 170)])
def test_a_table_without_copies_or_leaks_is_audited_in_place_of_the_folder(
    classifier, thumbnails, tmp_path, kind, table, left
) -> None:
    named = thumbnails[1] > 0  # "T-shirt/top" is no name of a folder
    pixels, labels = (part[named][:200].copy() for part in thumbnails)
    pixels[190:199], labels[190:199] = pixels[:1], labels[:1]
    names = dict(enumerate(FASHION_CLASSES))
    place = tmp_path / "data"
    for row, (picture, label) in enumerate(zip(pixels, labels, strict=True)):
        path = place / names[label] / f"{row:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    known = image_set(pixels[:22], labels[:22])
    check, beside = ("duplicates", {}) if kind == "duplicate" else ("leakage", {"train": known})
    report = audit(classifier, place, checks=["clean", check], out=tmp_path / "run", **beside)
    (advice,) = next(iter(found(report, kind).values())).treatments
    assert f"lists/{table}_images.csv" in advice
    (panel,) = (panel for panel in report.panels if panel.title.startswith("Accuracy without"))
    (tmp_path / "run" / "lists" / f"{table}_images.csv").rename(place / "left.csv")
    again = audit(
        classifier, snellen.load_images(place / "left.csv", columns={"image": "id"}), checks=["clean", check], **beside
    )
    assert not [one for one in again.findings if one.subject.startswith(("exact", "near"))]
    (_, (words, number, accuracy, interval)) = panel.rows
    assert (words, number) == ("without them", again.data["images"])
    clean = again.metrics["clean.accuracy"]
    assert (accuracy, interval) == (f"{clean.value:.4f}", f"{clean.low:.4f} – {clean.high:.4f}")
    assert panel.rows[0][:3] == ("all", 200, f"{report.metrics['clean.accuracy'].value:.4f}")
    assert abs(number - left) <= 4, "near ones beside those that were planted"


def test_leaks_between_training_tuning_and_audited_images(classifier, thumbnails, tmp_path) -> None:
    pixels, labels = thumbnails
    train = image_set(pixels[:100], labels[:100])
    val = image_set(pixels[80:200], labels[80:200])
    test = image_set(pixels[199:400], labels[199:400], split=["val"] * 50 + ["test"] * 151)
    report = audit(classifier, test, checks=["leakage"], train=train, val=val, out=tmp_path / "run")
    listed = json.loads((tmp_path / "run" / "lists" / "leakage.json").read_text())
    ours = {row["id"] for row in listed if row["sets"] != "training in validation"}
    left = (tmp_path / "run" / "lists" / "unleaked_images.csv").read_text().splitlines()
    assert {line.split(",")[0] for line in left[1:]} == {*test.ids} - ours, (
        "ids of validation images are no ids of ours"
    )
    assert {row["id"] for row in listed} > ours
    leaks = found(report, "leakage")
    exact = {subject for subject in leaks if subject.startswith("exact")}
    assert exact == {"exact, training in validation", "exact, validation"}
    between = leaks["exact, training in validation"]
    assert (between.facts["images"], between.harm, between.examples) == (20, 0, ())
    assert between.title == "20 of 120 validation images are, pixel for pixel, among those of training"
    assert any("reported without harm" in note for note in report.notes)
    assert leaks["exact, validation"].title == "1 of 201 images is, pixel for pixel, among those of validation"
    assert leaks["exact, validation"].harm == pytest.approx(1 / 201)


def test_leaks_from_training_images_that_were_not_looked_at(classifier, thumbnails, monkeypatch) -> None:
    monkeypatch.setattr("snellen.auditing.resolved_audit.COMPANION_LIMIT", 100)
    pixels, labels = thumbnails
    train = image_set(pixels[:400], labels[:400], unit_id=[f"patient {n}" for n in range(400)])
    test = image_set(pixels[:400], labels[:400], unit_id=[f"patient {n}" for n in range(400)])
    report = audit(classifier, test, checks=["leakage"], train=train)
    leaks = found(report, "leakage")
    assert leaks["exact, training"].title.startswith("At least 100 of 400 images are, pixel for pixel,")
    assert leaks["unit, training"].title == "400 of 400 images are of units that occur among those of training"
    assert any(note.startswith("training: 100 of 400 images were compared") for note in report.notes)
    whole = audit(classifier, test.select(range(100)), checks=["leakage"], train=train.select(range(100)))
    assert not any("were compared" in note for note in whole.notes)
    assert found(whole, "leakage")["exact, training"].title.startswith("100 of 100 images")


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
    assert leaks["exact, the split train in test"].facts["images"] == 20
    three = image_set(
        np.concatenate([pixels[:200], pixels[:9], pixels[:4]]),
        np.concatenate([labels[:200], labels[:9], labels[:4]]),
        split=["train"] * 200 + ["val"] * 9 + ["test"] * 4,
    )
    leaks = found(audit(classifier, three, checks=["leakage"], train=image_set(pixels[500:600], None)), "leakage")
    counts = {subject: leak.facts["images"] for subject, leak in leaks.items() if subject.startswith("exact")}
    places = ("train in val", 9), ("train in test", 4), ("val in test", 4)
    assert counts == {f"exact, the split {name}": count for name, count in places}
    apart = image_set(pixels[:300], labels[:300], split=["train"] * 200 + ["test"] * 100)
    assert not found(audit(classifier, apart, checks=["leakage"]), "leakage")
    (skipped,) = [c for c in audit(classifier, test, checks=["leakage"]).checks if c.name == "leakage"]
    assert skipped.reason == "compares with train images or between splits, and none were given (--train DATA)"


def test_label_noise_is_reported_and_healthy_labels_are_not(classifier, thumbnails) -> None:
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


def test_wrong_labels_that_a_model_memorised_are_reported(thumbnails) -> None:
    pixels, labels = (part[:1200] for part in thumbnails)
    wrong, rng = labels.copy(), np.random.default_rng(0)
    rows = rng.permutation(1200)[:120]
    wrong[rows] = (labels[rows] + rng.integers(1, 10, 120)) % 10
    shown = torch.from_numpy(pixels).float().flatten(1) / 255
    given = torch.from_numpy(wrong)

    class Memory(nn.Module):
        """What the nearest image is labelled as: on these images, what each is."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            nearest = torch.cdist(images[:, 0].flatten(1), shown).argmin(1)
            return 8.0 * nn.functional.one_hot(given[nearest], 10).float()

    memory = Classifier(Memory(), class_names=FASHION_CLASSES, preparation=Preprocessing(size=(28, 28)), name="memory")
    report = audit(memory, image_set(pixels, wrong), checks=["label_noise"])
    finding = found(report, "label_noise")[""]
    assert "held-out heads are sure" in finding.title
    assert finding.facts["model_agrees_with"] == 1
    assert finding.harm > 0.005
    assert any("A model that was trained on these images does so." in note for note in report.notes)
    right = audit(memory, image_set(pixels, labels), checks=["label_noise"])
    assert not found(right, "label_noise")


def test_corrected_labels_are_a_table_of_images(classifier, thumbnails, tmp_path) -> None:
    named = thumbnails[1] > 0  # "T-shirt/top" is no name of a folder
    pixels, labels = (part[named][:120] for part in thumbnails)
    wrong = labels.copy()
    wrong[:6] = (labels[:6] + 3) % 9 + 1
    for row, (picture, label) in enumerate(zip(pixels, wrong, strict=True)):
        path = tmp_path / "data" / FASHION_CLASSES[label] / f"{row:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    images = snellen.load_images(tmp_path / "data")
    report = audit(classifier, images, checks=["label_noise"], out=tmp_path / "run")
    table = (tmp_path / "run" / "lists" / "corrected_labels.csv").rename(tmp_path / "data" / "corrected.csv")
    rows = table.read_text(encoding="utf-8").splitlines()
    assert rows[0] == "id,given,likely,quality"
    assert len(rows) == 121
    corrected = snellen.load_images(table, columns={"image": "id", "label": "likely"})
    suggested = dict(zip(corrected.ids, [corrected.class_names[label] for label in corrected.labels], strict=True))
    before = dict(zip(images.ids, [images.class_names[label] for label in images.labels], strict=True))
    changed = {name for name in before if suggested[name] != before[name]}
    listed = json.loads((tmp_path / "run" / "lists" / "label_noise.json").read_text())
    assert changed == {one["id"] for one in listed}
    assert sum(int(name[-7:-4]) < 6 for name in changed) >= 4
    assert not any("wrong labels" in seen for seen in report.sight), "some were found"
    healthy = audit(classifier, snellen.load_images("bundled:fashion-mnist").limit(1500), checks=["label_noise"])
    assert any(seen.endswith("wrong labels or more, spread evenly over images and classes") for seen in healthy.sight)


class Memory(nn.Module):
    """Knows the given label of each image, right or wrong, by its pixels."""

    def __init__(self, pixels, labels):
        super().__init__()
        self.known = {picture.tobytes(): int(label) for picture, label in zip(pixels, labels, strict=True)}

    def forward(self, images):
        seen = (images[:, 0] * 255).round().to(torch.uint8).numpy()
        return 9 * torch.eye(10)[[self.known[picture.tobytes()] for picture in seen]]


def test_a_model_that_was_trained_on_the_images_is_named_first(thumbnails) -> None:
    pixels, labels = thumbnails[0], thumbnails[1].copy()
    wrong = np.random.default_rng(0).permutation(len(labels))[: len(labels) // 12]
    labels[wrong] = (labels[wrong] + 1 + np.arange(len(wrong)) % 8) % 10
    memory = Classifier(
        Memory(pixels, labels), class_names=FASHION_CLASSES, preparation=Preprocessing(size=(28, 28)), name="memory"
    )
    report = audit(memory, image_set(pixels, labels), checks=["clean", "calibration", "label_noise"])
    assert report.metrics["clean.accuracy"].value == 1.0
    assert [finding.kind for finding in report.findings][:2] == ["in_sample", "label_noise"]
    assert "trained on these images" in report.findings[0].title


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


def test_drift_is_reported_and_none_where_there_is_none(classifier, thumbnails) -> None:
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


def drift_title(**facts: object) -> str:
    drift = PropertyDrift(**{"name": "brightness", "p_value": 0.01, "distance": 0.5, "spread": 0.1, **facts})
    return _of_property(drift).finding(0.0).title


def test_drift_of_a_property_in_words() -> None:
    assert drift_title(difference=-0.52) == "Audited images are darker than training images, by 0.5 standard deviations"
    assert drift_title(difference=0.03) == "Audited images are differently spread in brightness than training images"
    constant = drift_title(difference=0.0, spread=0.0)
    assert constant == "All audited images have another brightness than the training images"
    clipped = drift_title(name="clipped_black", difference=0.2)
    assert clipped == "Audited images are of more clipped black than training images, by 0.2 standard deviations"


def test_harm_of_drift_is_read_at_the_requested_confidence() -> None:
    area = FeatureDrift(0.001, 0.001, 0.93, 0.012, 200, np.empty(0, np.int64))
    hypothesis = Drift()._of_features(area, None)
    assert [hypothesis.harm(confidence) for confidence in (0.95, 0.99999)] == [0.05, 0.005]
    assert hypothesis.finding(0.005).harm == 0.005


def test_constant_images_are_reported_and_groups_compared(classifier, thumbnails) -> None:
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
