"""Ours as MAITE's objects, and MAITE's objects audited: the same accuracy either way."""

import numpy as np
import pytest
import torch
from torch import nn

import snellen
from snellen.core.errors import InputError
from snellen.metrics.clustered import clustered_share
from snellen.verbs.attack import attack

NAMES = ("cat", "dog", "owl")


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 6 * 6, 3))


@pytest.fixture(scope="module")
def pixels():
    return torch.randint(0, 256, (48, 3, 6, 6), generator=torch.Generator().manual_seed(2), dtype=torch.uint8).numpy()


@pytest.fixture(scope="module")
def labels(pixels):
    with torch.no_grad():
        found = network()(torch.from_numpy(pixels).float() / 255 - 0.5).argmax(1).numpy()
    found[::6] = (found[::6] + 1) % 3
    return found


@pytest.fixture(scope="module")
def images(pixels, labels):
    return snellen.load_images(pixels, labels, class_names=NAMES, name="pets")


@pytest.fixture(scope="module")
def classifier():
    size, scale = snellen.Preprocessing(size=(6, 6)), snellen.Normalization((0.5,) * 3, (1.0,) * 3)
    return snellen.load_classifier(network(), NAMES, preparation=size, normalization=scale)


class Foreign:
    """A model of MAITE whose classes are in another order; it takes values up to ``scale``."""

    ORDER = (2, 0, 1)

    def __init__(self, scale, **metadata):
        self.scale = scale
        self.metadata = {"id": "foreign", "index2label": {n: NAMES[c] for n, c in enumerate(self.ORDER)}, **metadata}

    def __call__(self, batch):
        held = torch.stack([torch.as_tensor(np.asarray(one)) for one in batch]).float() / self.scale
        with torch.no_grad():
            return list(network()((held - 0.5).clamp(-0.5, 0.5))[:, list(self.ORDER)].numpy())


class ForeignData:
    metadata = {"id": "pets", "index2label": dict(enumerate(NAMES))}

    def __init__(self, pixels, labels, floats=False):
        self.pixels, self.labels, self.floats = pixels, labels, floats

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, index):
        if index >= len(self):
            raise IndexError(index)
        image = self.pixels[index].astype(np.float32) / 255 if self.floats else self.pixels[index]
        return image, np.eye(3)[self.labels[index]], {"id": index, "clinic": "AB"[index % 2], "patient": index // 4}


def test_maite_evaluates_ours_to_the_same_digits(images, classifier):
    tasks = pytest.importorskip("maite.tasks", reason="maite is not installed")
    protocols = pytest.importorskip("maite.protocols.image_classification")
    model, data = snellen.as_maite_model(classifier), snellen.as_maite_dataset(images, classifier.class_names)
    metric = snellen.as_maite_metric()
    fog = snellen.as_maite_augmentation({"method": "corruption", "kind": "gaussian_noise"}, 3.0)
    for one, kind in (
        (model, protocols.Model), (data, protocols.FieldwiseDataset), (metric, protocols.Metric),
        (fog, protocols.Augmentation),
    ):  # fmt: skip
        assert isinstance(one, kind)
    found, *_ = tasks.evaluate(model=model, metric=metric, dataset=data, batch_size=7)
    expected = snellen.audit(classifier, images, checks=["clean"]).metrics["clean.accuracy"]
    assert (found["accuracy"], found["accuracy_low"], found["accuracy_high"]) == (
        expected.value, expected.low, expected.high,
    )  # fmt: skip
    assert found["accuracy"] == 40 / 48
    changed, *_ = tasks.evaluate(model=model, metric=metric, dataset=data, batch_size=48, augmentation=fog)
    assert changed["accuracy"] < found["accuracy"]
    again, *_ = tasks.evaluate(model=model, metric=metric, dataset=data, batch_size=5, augmentation=fog)
    assert again == changed, "what is random belongs to the image, not to its batch"


def test_values_targets_and_ids(images, classifier, pixels, labels):
    model, data = snellen.as_maite_model(classifier), snellen.as_maite_dataset(images)
    assert len(list(data)) == len(data) == 48
    image, target, metadata = data[5]
    assert (image.dtype, image.tolist()) == (np.uint8, pixels[5].tolist())
    assert target.tolist() == np.eye(3)[labels[5]].tolist()
    assert (metadata["id"], len(metadata["sha256"])) == (images.ids[5], 64)
    (probabilities,) = model([image])
    assert probabilities.sum() == pytest.approx(1)
    (same,) = model([(image / 255).astype(np.float32)])
    assert np.allclose(same, probabilities, atol=1e-6)
    assert model.metadata["index2label"] == data.metadata["index2label"] == dict(enumerate(NAMES))
    assert model.metadata["id"].endswith(classifier.fingerprint()[:16])
    assert data.metadata["id"] == f"pets {images.fingerprint()[:16]}"
    turned = snellen.as_maite_dataset(images, NAMES[::-1])
    assert turned[5][1].tolist() == target[::-1].tolist()
    with pytest.raises(IndexError):
        data[48]
    with pytest.raises(InputError, match=r"in \[0, 1\]; got 0 to 255"):
        model([image.astype(np.float32) * 0 + np.linspace(0, 255, 6, dtype=np.float32)])
    with pytest.raises(InputError, match="one label for each image"):
        snellen.as_maite_dataset(snellen.load_images(pixels))


def test_an_augmentation_keeps_type_and_range(pixels):
    fog = snellen.as_maite_augmentation({"method": "corruption", "kind": "fog"}, 2.0, seed=4)
    whole, _, _ = fog(([pixels[0]], [None], [{"id": "a"}]))
    unit, _, rows = fog(([pixels[0] / np.float32(255)], [None], [{"id": "a"}]))
    assert (whole[0].dtype, unit[0].dtype, rows) == (np.uint8, np.float32, [{"id": "a"}])
    assert np.abs(whole[0] / 255 - unit[0]).max() <= 0.5 / 255 + 1e-6
    assert not np.array_equal(whole[0], pixels[0])
    other, _, _ = fog(([pixels[0]], [None], [{"id": "b"}]))
    assert not np.array_equal(whole[0], other[0])
    nothing = snellen.as_maite_augmentation({"method": "corruption", "kind": "fog"}, 0.0)
    assert np.array_equal(nothing(([pixels[0]], [None], [{"id": "a"}]))[0][0], pixels[0])
    assert "severity 2, seed 4" in fog.metadata["id"]
    with pytest.raises(InputError, match="severity is from 0 to 5, got 6"):
        snellen.as_maite_augmentation("corruption", 6)


def test_the_metric_counts_units(labels):
    metric = snellen.as_maite_metric()
    right = np.arange(48) % 6 != 0
    predicted = np.eye(3)[np.where(right, labels, (labels + 1) % 3)]
    rows = [{"id": n, "unit_id": f"p{n // 8}"} for n in range(48)]
    for part in (slice(0, 20), slice(20, 48)):
        metric.update(predicted[part], np.eye(3)[labels][part], rows[part])
    assert metric.compute()["accuracy"] == right.mean()
    low, high = clustered_share(right, np.arange(48) // 8)
    assert (metric.compute()["accuracy_low"], metric.compute()["accuracy_high"]) == (low, high)
    metric.reset()
    with pytest.raises(InputError, match="no predictions"):
        metric.compute()


@pytest.mark.parametrize(
    ("scale", "floats", "metadata", "said"),
    [
        (255, False, {}, "bytes from 0 to 255, as the images hold them"),
        (1, False, {}, "values in [0, 1], as nothing else is given: with these it is right on 40 of 48"),
        (1, False, {"value_range": (0, 1)}, "values in [0, 1], as its metadata say"),
        (255, True, {"value_range": [0, 255]}, "bytes from 0 to 255, as its metadata say"),
        (255, True, {}, "bytes from 0 to 255, as the images hold them: with these it is right on 40 of 48"),
    ],
)
def test_a_foreign_model_is_audited_in_its_own_range_by_names(pixels, labels, scale, floats, metadata, said):
    data = ForeignData(pixels, labels, floats)
    held = snellen.load_images(data, value_range=(0, 1)) if floats else data
    report = snellen.audit(Foreign(scale, **metadata), held, checks=["clean"])
    assert report.metrics["clean.accuracy"].value == 40 / 48
    assert any(said in note for note in report.model["notes"]), report.model["notes"]


def test_unit_and_group_come_from_the_metadata_of_an_image(pixels, labels):
    data = ForeignData(pixels, labels)
    images = snellen.load_images(data, columns={"unit": "patient", "group": "clinic"})
    assert images.column("group")[:3] == ["A", "B", "A"]
    report = snellen.audit(Foreign(255), images, checks=["clean", "group_gap"])
    assert report.data["units"] == 12
    assert [check.status for check in report.checks] == ["done", "done"]
    exported = snellen.as_maite_dataset(images)
    assert {"unit_id": "1", "group": "B"}.items() <= exported[5][2].items()
    attacked = attack(snellen.as_maite_model(snellen.load_classifier(network(), NAMES)), images, "square", limit=2)
    assert attacked.plan["model"]["name"].startswith("Sequential ")


def test_holes_in_index2label(pixels, labels):
    class Holed(Foreign):
        ORDER = (0, 1, 2)

        def __init__(self):
            super().__init__(255)
            self.metadata = {"id": "holed", "index2label": {"0": "cat", "2": "owl"}}

    kept = labels != 1
    report = snellen.audit(Holed(), ForeignData(pixels[kept], labels[kept]), checks=["clean"])
    assert report.model["classes"] == 3


@pytest.mark.parametrize("lost", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_prediction_that_is_not_finite_is_wrong_whatever_its_place(lost, place):
    metric = snellen.as_maite_metric()
    bad = np.array([0.9, 0.1, 0.0])
    bad[place] = lost
    metric.update([bad, np.array([1.0, 0.0, 0.0])], np.eye(3)[[0, 0]], [{"id": "a"}, {"id": "b"}])
    assert metric.compute()["accuracy"] == 0.5
