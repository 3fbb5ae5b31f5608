"""Weights that an ONNX model keeps beside itself count for its identity, and stay in its folder."""

import hashlib
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from snellen.core.errors import InputError
from snellen.models.classifiers.onnx_models import external_files
from snellen.models.classifiers.references import load_classifier


def save_with_external_weights(folder: Path, location: str = "weights.bin") -> Path:
    weight = numpy_helper.from_array(np.arange(48 * 2, dtype=np.float32).reshape(48, 2) / 100, "weight")
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "weight"], ["y"])]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", 3, 4, 4))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("n", 2))],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "net.onnx", save_as_external_data=True, location=location, size_threshold=0)
    return folder / "net.onnx"


def test_the_files_are_found_as_the_onnx_package_finds_them(tmp_path: Path) -> None:
    path = save_with_external_weights(tmp_path)
    model = onnx.load(path, load_external_data=False)
    theirs = [
        entry.value for tensor in model.graph.initializer for entry in tensor.external_data if entry.key == "location"
    ]
    assert external_files(path.read_bytes()) == tuple(theirs) == ("weights.bin",)


def test_a_model_without_external_weights_has_none(tmp_path: Path) -> None:
    model = onnx.load(save_with_external_weights(tmp_path))
    onnx.save(model, tmp_path / "whole.onnx", save_as_external_data=False)
    assert external_files((tmp_path / "whole.onnx").read_bytes()) == ()
    classifier = load_classifier(f"onnx:{tmp_path / 'whole.onnx'}", ["a", "b"])
    assert classifier.identity == hashlib.sha256((tmp_path / "whole.onnx").read_bytes()).hexdigest()


@given(name=st.text(st.characters(codec="utf-8", exclude_characters="\\/:\0", exclude_categories=["Cc"]), min_size=1))
def test_names_of_any_length_are_read(name: str) -> None:
    if name in {".", ".."}:
        return
    entry = onnx.StringStringEntryProto(key="location", value=name)
    assert external_files(b"\x12\x34" + entry.SerializeToString() + b"\x08\x01") == (name,)


@pytest.mark.parametrize("name", ["../weights.bin", "/etc/passwd", "a/../../b", "C:\\weights", "..\\weights", ""])
def test_names_that_leave_the_folder_are_refused(name: str) -> None:
    entry = b"\x0a\x08location\x12" + bytes([len(name)]) + name.encode()
    with pytest.raises(InputError, match="outside of its folder"):
        external_files(entry)


def test_truncated_content_is_no_crash() -> None:
    assert external_files(b"\x0a\x08locatio") == ()
    with pytest.raises(InputError, match="outside of its folder"):
        external_files(b"\x0a\x08location\x12")


def test_the_identity_covers_the_weights(tmp_path: Path) -> None:
    path = save_with_external_weights(tmp_path)
    before = load_classifier(f"onnx:{path}", ["a", "b"])
    images = torch.rand(2, 3, 4, 4)
    weights = (tmp_path / "weights.bin").read_bytes()
    expected = images.flatten(1) @ torch.from_numpy(np.frombuffer(weights, np.float32)[:96].reshape(48, 2).copy())
    assert torch.allclose(before(images), expected, atol=1e-5)
    (tmp_path / "weights.bin").write_bytes(np.zeros(len(weights) // 4, np.float32).tobytes())
    after = load_classifier(f"onnx:{path}", ["a", "b"])
    assert after.identity != before.identity
    assert float(after(images).abs().max()) == 0


def test_missing_weights_are_named(tmp_path: Path) -> None:
    path = save_with_external_weights(tmp_path)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(InputError, match=r"keeps weights in weights\.bin, which is missing"):
        load_classifier(f"onnx:{path}", ["a", "b"])


def test_what_torch_exports_gives_the_same_logits(tmp_path: Path) -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
    ).eval()
    path = tmp_path / "exported.onnx"
    with warnings.catch_warnings():  # the exporter's own
        warnings.simplefilter("ignore")
        shapes = ({0: torch.export.Dim("n")},)
        images = torch.rand(2, 3, 16, 16)
        torch.onnx.export(network, (images,), path, dynamo=True, dynamic_shapes=shapes, verbose=False)
    classifier = load_classifier(f"onnx:{path}", ["a", "b", "c"])
    assert classifier.preparation.size == (16, 16)
    images = torch.rand(5, 3, 16, 16)
    with torch.no_grad():
        assert torch.allclose(classifier(images), network(images), atol=1e-5)
