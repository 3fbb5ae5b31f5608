"""DataEval on our data sets, and its views of data sets in an audit."""

import numpy as np
import pytest

import snellen
from tests.integrations.small_pets import pixels_and_labels
from tests.tiny_network import NAMES

dataeval = pytest.importorskip("dataeval", reason="dataeval is not installed", exc_type=ImportError)
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.fixture(scope="module")
def images():
    """48 images of 16 x 16 pixels, of which two are the same; the clinic goes with the class."""
    pixels, labels = pixels_and_labels()
    pixels = np.kron(pixels, np.ones((1, 4, 4, 1), np.uint8))
    pixels[7] = pixels[4]
    return snellen.load_images(
        pixels, labels, class_names=NAMES, name="pets", groups={"clinic": ["AB"[int(label == 0)] for label in labels]}
    )


def brightest(batch):
    return batch.mean((2, 3))


def test_it_finds_the_copies_that_we_find(images):
    quality = pytest.importorskip("dataeval.quality")
    theirs = quality.Duplicates().evaluate(snellen.as_maite_dataset(images)).data()
    exact = [sorted(row["item_indices"]) for row in theirs.to_dicts() if row["dup_type"] == "exact"]
    assert exact == [[4, 7]]
    report = snellen.audit(brightest, images, checks=["clean", "duplicates"])
    (ours,) = [one for one in report.findings if one.kind == "duplicate"]
    assert sorted(int(example.example_id) for example in ours.examples) == [4, 7]


def test_it_reads_classes_and_groups(images):
    bias = pytest.importorskip("dataeval.bias")
    held = dataeval.Metadata(snellen.as_maite_dataset(images))
    assert held.index2label == dict(enumerate(NAMES))
    assert held.class_labels.tolist() == images.labels.tolist()
    assert "group" in held.factor_names
    rows = bias.Balance().evaluate(held).data()["balance"].to_dicts()
    shared = {row["factor_name"]: row["mi_value"] for row in rows}
    assert shared["group"] > 0.5, "the clinic says much about the class"


def test_its_views_are_audited_like_the_images_that_they_show(images):
    data = pytest.importorskip("dataeval.data")
    view = data.View(snellen.as_maite_dataset(images), [data.Indices([40, 3, 17, 30])])
    theirs = snellen.audit(brightest, view, checks=["clean"])
    ours = snellen.audit(brightest, images.select([40, 3, 17, 30]), checks=["clean"])
    assert theirs.metrics["clean.accuracy"] == ours.metrics["clean.accuracy"]
    assert snellen.load_images(view).ids == [images.ids[row] for row in (40, 3, 17, 30)]
    split = data.split_dataset(snellen.as_maite_dataset(images), test_frac=0.25, val_frac=0.25)
    part = data.View(snellen.as_maite_dataset(images), [data.Indices(split.test)])
    assert snellen.audit(brightest, part, checks=["clean"]).data["used"] == len(split.test) > 0
