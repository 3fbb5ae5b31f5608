"""ONNX Runtime: graphs built by hand, so that what they compute is known."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from snellen.core.errors import InputError, ModelError
from snellen.models.classifiers.references import load_classifier

NAMES = ["a", "b", "c", "d"]
Write = Callable[..., Path]
Logits = Callable[..., Tensor]


def test_logits_of_a_graph_with_a_free_batch(tmp_path: Path, write_graph: Write, expected_logits: Logits) -> None:
    path = write_graph(tmp_path / "net.onnx")
    classifier = load_classifier(f"onnx:{path}", NAMES)
    images = torch.rand(5, 3, 8, 6)
    assert torch.allclose(classifier(images), expected_logits(images), atol=1e-5)
    assert torch.allclose(classifier(images[:1]), classifier(images)[:1], atol=1e-6)
    assert (classifier.output, classifier.differentiable) == ("logits", True)
    assert classifier.name == "onnx:net.onnx"
    assert classifier.identity == hashlib.sha256(path.read_bytes()).hexdigest()
    assert classifier.spent.queries == 5 + 1 + 5


def test_softmax_becomes_log_probabilities(tmp_path: Path, write_graph: Write, expected_logits: Logits) -> None:
    classifier = load_classifier(f"onnx:{write_graph(tmp_path / 'net.onnx', then=['Softmax'])}", NAMES)
    images = torch.rand(3, 3, 8, 6)
    assert classifier.output == "log-probabilities"
    assert any("softmax probabilities" in note for note in classifier.notes)
    assert torch.allclose(classifier(images), expected_logits(images).log_softmax(1), atol=1e-5)


def test_log_softmax_is_reported(tmp_path: Path, write_graph: Write) -> None:
    classifier = load_classifier(f"onnx:{write_graph(tmp_path / 'net.onnx', then=['LogSoftmax'])}", NAMES)
    assert classifier.output == "log-probabilities"
    assert any(note == "the model returns log-probabilities" for note in classifier.notes)


def test_underflowing_probabilities_stay_finite(tmp_path: Path, write_graph: Write) -> None:
    bias = np.array([0.0, 500.0, 0.0, 0.0], dtype=np.float32)
    classifier = load_classifier(f"onnx:{write_graph(tmp_path / 'net.onnx', then=['Softmax'], bias=bias)}", NAMES)
    scores = classifier(torch.rand(2, 3, 8, 6))
    assert bool(scores.isfinite().all())
    assert float(scores.min()) == pytest.approx(float(np.log(np.finfo(np.float32).tiny)))


@pytest.mark.parametrize("keepdims", [0, 1])
def test_integer_outputs_are_labels(tmp_path: Path, keepdims: int, write_graph: Write, expected_logits: Logits) -> None:
    tail = [helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=keepdims)]
    path = write_graph(tmp_path / "net.onnx", tail=tail, output=("label", TensorProto.INT64))
    classifier = load_classifier(f"onnx:{path}", NAMES)
    images = torch.rand(6, 3, 8, 6)
    assert classifier.output == "labels"
    expected = torch.nn.functional.one_hot(expected_logits(images).argmax(1), 4).float()
    assert torch.equal(classifier(images), expected)
    with pytest.raises(InputError, match="--classes"):
        load_classifier(f"onnx:{path}")
    with pytest.raises(ModelError, match=r"1 class names are known"):
        load_classifier(f"onnx:{path}", ["only"])


@pytest.mark.parametrize("batch", [1, 4])
def test_a_fixed_batch_size_is_filled_and_cut(
    tmp_path: Path, batch: int, write_graph: Write, expected_logits: Logits
) -> None:
    path = write_graph(tmp_path / "net.onnx", shape=(batch, 3, 8, 6))
    classifier = load_classifier(f"onnx:{path}", NAMES)
    for count in (1, 3, 4, 6, 9):
        images = torch.rand(count, 3, 8, 6)
        assert torch.allclose(classifier(images), expected_logits(images), atol=1e-5)


def test_one_channel_gets_the_mean(tmp_path: Path, write_graph: Write, expected_logits: Logits) -> None:
    classifier = load_classifier(f"onnx:{write_graph(tmp_path / 'net.onnx', shape=('n', 1, 8, 6))}", NAMES)
    images = torch.rand(3, 3, 8, 6)
    assert torch.allclose(classifier(images), expected_logits(images, channels=1), atol=1e-5)
    assert any("mean of the three" in note for note in classifier.notes)


@pytest.mark.parametrize(("kind", "tolerance"), [(TensorProto.FLOAT16, 2e-2), (TensorProto.DOUBLE, 1e-5)])
def test_images_are_cast_to_the_type_of_the_input(
    tmp_path: Path, kind: int, tolerance: float, write_graph: Write, expected_logits: Logits
) -> None:
    classifier = load_classifier(f"onnx:{write_graph(tmp_path / 'net.onnx', kind=kind)}", NAMES)
    images = torch.rand(2, 3, 8, 6)
    assert torch.allclose(classifier(images).float(), expected_logits(images), atol=tolerance)


def test_channels_that_are_not_reported_are_taken_as_three(
    tmp_path: Path, write_graph: Write, expected_logits: Logits
) -> None:
    classifier = load_classifier(f"onnx:{write_graph(tmp_path / 'net.onnx', shape=('n', 'c', 8, 6))}", NAMES)
    images = torch.rand(2, 3, 8, 6)
    assert torch.allclose(classifier(images), expected_logits(images), atol=1e-5)
    assert any("3 assumed" in note for note in classifier.notes)


def test_the_first_of_several_outputs_is_used(tmp_path: Path, write_graph: Write) -> None:
    path = write_graph(tmp_path / "net.onnx", extra_outputs=["means"])
    classifier = load_classifier(f"onnx:{path}", NAMES)
    assert classifier(torch.rand(2, 3, 8, 6)).shape == (2, 4)
    assert any("2 outputs; the first, 'scores', is used" in note for note in classifier.notes)


def test_trailing_axes_of_length_one_are_dropped(tmp_path: Path, write_graph: Write) -> None:
    axes = numpy_helper.from_array(np.array([2, 3]), "axes")
    path = write_graph(tmp_path / "net.onnx")
    model = onnx.load(path)
    model.graph.initializer.append(axes)
    model.graph.node.append(helper.make_node("Unsqueeze", ["scores", "axes"], ["maps"]))
    model.graph.output[0].name = "maps"
    onnx.save(model, path)
    assert load_classifier(f"onnx:{path}", NAMES)(torch.rand(2, 3, 8, 6)).shape == (2, 4)


def test_threads_are_those_of_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_graph: Write) -> None:
    seen = []
    original = onnxruntime.InferenceSession

    def session(path: str, options: onnxruntime.SessionOptions, **rest: object) -> onnxruntime.InferenceSession:
        seen.append((options.intra_op_num_threads, options.inter_op_num_threads))
        return original(path, options, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    load_classifier(f"onnx:{write_graph(tmp_path / 'net.onnx')}", NAMES)
    assert seen == [(torch.get_num_threads(), 1)]


def test_labels_have_no_gradients(tmp_path: Path, write_graph: Write) -> None:
    tail = [helper.make_node("ArgMax", ["scores"], ["label"], axis=1)]
    path = write_graph(tmp_path / "net.onnx", tail=tail, output=("label", TensorProto.INT64))
    classifier = load_classifier(f"onnx:{path}", NAMES)
    assert (classifier.differentiable, classifier.module) == (False, None)


@pytest.mark.parametrize("batch", [1, 4])
def test_onnxruntime_fills_and_cuts_a_fixed_batch_size(
    tmp_path: Path, batch: int, write_graph: Write, expected_logits: Logits
) -> None:
    path = write_graph(tmp_path / "net.onnx", shape=(batch, 3, 8, 6))
    classifier = load_classifier(f"onnx:{path}", NAMES, model_args={"run_by": "onnxruntime"})
    for count in (1, 3, 4, 6, 9):
        images = torch.rand(count, 3, 8, 6, requires_grad=True)
        scores = classifier(images)
        assert not scores.requires_grad
        assert torch.allclose(scores, expected_logits(images), atol=1e-5)
