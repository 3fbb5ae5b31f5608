"""The same images are the same data: under another order of classes, and where a table corrects their labels."""

import numpy as np
import pytest
import torch
from torch import nn

import snellen
from snellen.auditing.audit import audit
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.data.files.arrays import load_arrays
from snellen.testing.conformance import small_problem

NAMES, ORDER = tuple("abcde"), [3, 0, 4, 1, 2]

CHECKS = [
    "clean", "calibration", "selective", "discrimination", "slices", "label_noise", "duplicates", "leakage", "drift",
    "data_quality", {"check": "corruption", "kinds": ["fog"], "severities": [3]},
    {"check": "masking", "share": 1.0, "steps": 2, "queries": 2}, "multi_label",
]  # fmt: skip


class Turned(nn.Module):
    """A network with its outputs in another order."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.inner(images)[:, ORDER]


@pytest.fixture(scope="module")
def problem():
    """A model, pixels (n, h, w, 3) and labels (n,) of which it gets a seventh wrong."""
    model, images, _ = small_problem(count=240, size=12)
    pixels = (images * 255).round().byte()
    with torch.no_grad():
        right = model(pixels / 255).argmax(1).numpy()
    wrong = np.random.default_rng(0).random(240) < 0.15
    return model, pixels.permute(0, 2, 3, 1).numpy(), np.where(wrong, (right + 1) % 5, right), right


def image_set(pixels, labels, rows):
    return load_arrays(pixels, labels, class_names=NAMES, name="images").select(rows)


def test_another_order_of_the_classes_changes_nothing(tmp_path, problem):
    model, pixels, labels, _ = problem
    named = [NAMES[place] for place in ORDER]
    turned = Classifier(Turned(model.module), class_names=named, name="turned", preparation=model.preparation)
    sets = {name: image_set(pixels, labels, np.arange(*rows)) for name, rows in (("train", (0, 50)), ("val", (50, 90)))}
    given = image_set(pixels, labels, np.arange(90, 240))
    reports = [
        audit(one, given, **sets, checks=CHECKS, out=tmp_path / name) for name, one in (("a", model), ("b", turned))
    ]
    assert reports[0].data["fingerprint"] != reports[1].data["fingerprint"], "labels are numbers of other classes"
    found = snellen.compare(tmp_path / "a", tmp_path / "b")
    assert found.paired
    assert found.shared == 150
    assert not any("other data" in note or "label" in note for note in found.notes[2:])
    assert {figure.name: figure.verdict for figure in found.figures if figure.verdict != "same"} == {}
    assert found.findings
    assert {one.key: one.verdict for one in found.findings if one.verdict != "same"} == {}
    assert "calibration.ece_with_temperature" in {figure.name for figure in found.figures}


def test_corrected_labels_are_left_out_of_what_is_paired(tmp_path, problem):
    model, pixels, labels, right = problem
    raw = image_set(pixels, labels, np.arange(240))
    mended = image_set(pixels, right, np.random.default_rng(1).permutation(240))
    for name, images in (("raw", raw), ("mended", mended)):
        audit(model, images, checks=["clean"], out=tmp_path / name)
    found = snellen.compare(tmp_path / "raw", tmp_path / "mended")
    changed = int((labels != right).sum())
    assert found.paired
    assert found.shared == 240 - changed
    assert any(f"{changed} of these images have another label" in note for note in found.notes)
    accuracy = next(figure for figure in found.figures if figure.name == "clean.accuracy")
    assert (accuracy.verdict, accuracy.difference) == ("same", 0.0), "the model is the same, whatever its labels"
    every = image_set(pixels, (labels + 1) % 5, np.arange(240))
    audit(model, every, checks=["clean"], out=tmp_path / "every")
    with pytest.raises(InputError, match="every image has another label"):
        snellen.compare(tmp_path / "raw", tmp_path / "every")


def test_one_other_pixel_is_other_data(tmp_path, problem):
    model, pixels, labels, _ = problem
    changed = pixels[:60].copy()
    changed[0, 0, 0, 0] ^= 1
    for name, given in (("a", pixels[:60]), ("b", changed)):
        audit(model, image_set(given, labels[:60], np.arange(60)), checks=["clean"], out=tmp_path / name)
    found = snellen.compare(tmp_path / "a", tmp_path / "b")
    assert not found.paired
    assert any("used other data" in note for note in found.notes)
