"""What a file beside an ONNX model says, and what is assumed where it says nothing."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from snellen.core.classifier import Normalization
from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing
from snellen.models.classifiers.references import load_classifier

NAMES = ["a", "b", "c", "d"]
Write = Callable[..., Path]
Logits = Callable[..., Tensor]


def sidecar(path: Path, **fields: object) -> Path:
    target = path.with_name(path.name + ".json")
    target.write_text(json.dumps(fields), encoding="utf-8")
    return target


def test_what_is_assumed_without_a_sidecar(tmp_path: Path, write_graph: Write) -> None:
    classifier = load_classifier(f"onnx:{write_graph(tmp_path / 'net.onnx')}", NAMES)
    assert classifier.preparation == Preprocessing(
        size=(8, 6), resize="shorter", resize_to=(8, 6), interpolation="bilinear"
    )
    assert any("shorter edge to 6 pixels (bilinear), centre crop" in note for note in classifier.notes)
    assert any("RGB in [0, 1] without normalisation" in note for note in classifier.notes)
    assert classifier.prepare(Image.new("RGB", (40, 30))).shape == (3, 8, 6)
    images = torch.rand(1, 3, 8, 6)
    assert torch.equal(classifier.normalise(images), images)


def test_thresholds_of_a_sidecar_are_those_of_the_classifier(tmp_path: Path, write_graph: Write) -> None:
    path = write_graph(tmp_path / "net.onnx")
    sidecar(path, class_names=NAMES, task="multilabel", output="logits")
    plain = load_classifier(f"onnx:{path}")
    sidecar(path, class_names=NAMES, task="multilabel", output="logits", thresholds={"c": 0.25})
    classifier = load_classifier(f"onnx:{path}")
    assert (plain.thresholds, classifier.thresholds) == (None, (0.5, 0.5, 0.25, 0.5))
    assert any("c 0.25; others: 0.5" in note for note in classifier.notes)
    scores = torch.tensor([[-1.0, 1.0, -1.0, 1.0]])
    assert (plain.predict(scores).tolist(), classifier.predict(scores).tolist()) == ([[0, 1, 0, 1]], [[0, 1, 1, 1]])
    assert classifier.fingerprint() != plain.fingerprint()
    for wrong, words in (
        ({"task": "single", "thresholds": {"c": 0.25}}, "only models of several labels have"),
        ({"task": "multilabel", "thresholds": {"e": 0.25}}, "unknown label 'e'"),
        ({"task": "multilabel", "thresholds": {"c": 1.5}}, r"in \(0, 1\)"),
    ):
        sidecar(path, class_names=NAMES, output="logits", **wrong)
        with pytest.raises(InputError, match=words):
            load_classifier(f"onnx:{path}")


def test_a_sidecar_replaces_every_assumption(tmp_path: Path, write_graph: Write, expected_logits: Logits) -> None:
    path = write_graph(tmp_path / "net.onnx", then=["Sigmoid"])
    preparation = Preprocessing(size=(8, 6), resize="exact", resize_to=(8, 6), interpolation="bicubic")
    scale = {"mean": [0.5, 0.25, 0.0], "std": [0.5, 0.25, 2.0]}
    sidecar(
        path,
        class_names=NAMES,
        preparation=preparation.model_dump(mode="json"),
        normalization=scale,
        task="multilabel",
        output="probabilities",
    )
    classifier = load_classifier(f"onnx:{path}")
    assert classifier.class_names == tuple(NAMES)
    assert (classifier.preparation, classifier.task) == (preparation, "multilabel")
    assert (classifier.output, len(classifier.notes)) == ("log-probabilities", 1)  # that torch runs the graph
    images = torch.rand(2, 3, 8, 6)
    logits = expected_logits(classifier.normalise(images))
    assert torch.allclose(classifier.probabilities(classifier(images)).float(), logits.sigmoid(), atol=1e-5)
    mean, std = (torch.tensor(scale[key]).view(3, 1, 1) for key in ("mean", "std"))
    assert torch.equal(classifier.normalise(images), (images - mean) / std)


def test_an_assumption_is_reported_only_where_it_is_made(
    tmp_path: Path, write_graph: Write, expected_logits: Logits
) -> None:
    path = write_graph(tmp_path / "net.onnx")
    scale = Normalization((0.5,) * 3, (0.5,) * 3)
    classifier = load_classifier(f"onnx:{path}", NAMES, preparation=Preprocessing(size=(8, 6)), normalization=scale)
    assert len(classifier.notes) == 1  # that torch runs the graph
    images = torch.rand(2, 3, 8, 6)
    assert torch.allclose(classifier(images), expected_logits((images - 0.5) / 0.5), atol=1e-5)


def test_arguments_win_over_the_sidecar(tmp_path: Path, write_graph: Write) -> None:
    path = write_graph(tmp_path / "net.onnx")
    sidecar(path, class_names=["w", "x", "y", "z"], task="ordinal")
    classifier = load_classifier(f"onnx:{path}", NAMES, task="single")
    assert (classifier.class_names, classifier.task) == (tuple(NAMES), "single")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a description of a model"),
        ('{"classes": ["a"]}', "expected JSON with any of class_names, preparation"),
        ('{"output": "odds"}', "not a description of a model"),
        ('{"normalization": {"mean": [0, 0, 0], "std": [1, 0, 1]}}', "not a description of a model"),
        ('{"preparation": {"size": [9, 9]}}', r"preparation\.size is \(9, 9\), but the model takes \(8, 6\)"),
        ('{"preparation": {"resize": "none"}}', "preparation needs a size"),
        ('{"preparation": {"crop": 3}}', "not a preparation"),
        ('{"architecture": "timm:resnet18"}', "architecture and arguments are for checkpoints"),
    ],
)
def test_sidecars_that_cannot_be_used(tmp_path: Path, content: str, message: str, write_graph: Write) -> None:
    path = write_graph(tmp_path / "net.onnx")
    (tmp_path / "net.onnx.json").write_text(content)
    with pytest.raises(InputError, match=message):
        load_classifier(f"onnx:{path}", NAMES)


def test_a_dynamic_size_asks_for_the_sidecar(tmp_path: Path, write_graph: Write) -> None:
    path = write_graph(tmp_path / "net.onnx", shape=("n", 3, "h", "w"))
    with pytest.raises(InputError, match=r'write net\.onnx\.json beside it: \{"preparation"'):
        load_classifier(f"onnx:{path}", NAMES)
    given = load_classifier(f"onnx:{path}", NAMES, preparation=Preprocessing(size=(5, 7)))
    assert given(torch.rand(2, 3, 5, 7)).shape == (2, 4)
    sidecar(path, preparation={"size": [4, 4], "crop_start": "floor"}, class_names=NAMES)
    assert load_classifier(f"onnx:{path}").preparation.model_dump()["crop_start"] == "floor"


def test_a_description_may_be_toml(tmp_path: Path, write_graph: Write) -> None:
    path = write_graph(tmp_path / "net.onnx")
    described = tmp_path / "net.onnx.toml"
    described.write_text('class_names = ["w", "x", "y", "z"]\n[normalization]\nmean = [0.5]\nstd = [0.25]\n')
    classifier = load_classifier(f"onnx:{path}")
    assert (classifier.class_names, classifier.normalization.std) == (("w", "x", "y", "z"), (0.25,))
    described.write_text("class_names = [")
    with pytest.raises(InputError, match="expected TOML with any of class_names"):
        load_classifier(f"onnx:{path}")
    sidecar(path, class_names=NAMES)
    with pytest.raises(InputError, match=r"two descriptions, net\.onnx\.json and net\.onnx\.toml"):
        load_classifier(f"onnx:{path}")
