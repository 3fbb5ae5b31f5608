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
from snellen.models.classifiers.onnx_external_data import _INSIDE, external_files
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


LOCATION = b"\x0a\x08location"


def varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


def of_entry(entry: bytes) -> bytes:
    """A model with one tensor that has one entry of external data."""
    for field in (13, 5, 7):  # of the tensor, of the graph, of the model
        entry = bytes([field << 3 | 2]) + varint(len(entry)) + entry
    return entry


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
    assert external_files(of_entry(onnx.StringStringEntryProto(key="location", value=name).SerializeToString())) == (
        name,
    )


@pytest.mark.parametrize("name", ["../weights.bin", "/etc/passwd", "a/../../b", "C:\\weights", "..\\weights", ""])
def test_names_that_leave_the_folder_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="outside of its folder"):
        external_files(of_entry(LOCATION + b"\x12" + bytes([len(name)]) + name.encode()))


@pytest.mark.parametrize(
    "content",
    [
        b"\x3a\x05\x2a",  # longer than the file
        b"\x3a\x80\x00",  # a length that is written in vain bytes
        b"\x00\x00",  # field 0
        b"\x3b\x3c",  # a group
        b"\xba\x80\x80\x80\x80\x01\x00",  # a number of a field that parsers cut off
        b"\xff" * 20,
    ],
)
def test_what_parsers_may_read_in_two_ways_is_refused(content: bytes) -> None:
    with pytest.raises(InputError, match="is not an ONNX model that can be read"):
        external_files(content)


def test_a_location_without_a_name_is_refused() -> None:
    with pytest.raises(InputError, match="outside of its folder"):
        external_files(of_entry(LOCATION))


def test_every_place_of_a_tensor_is_looked_at() -> None:
    """The table of fields is that of the messages of onnx, which say themselves what they hold."""
    found: dict[str, dict[int, str]] = {"TensorProto": {13: "StringStringEntryProto"}}
    messages = onnx.ModelProto.DESCRIPTOR.file.message_types_by_name
    while True:
        inside = {
            name: {one.number: one.message_type.name for one in kind.fields if one.message_type is not None}
            for name, kind in messages.items()
            if name != "TensorProto"
        }
        leading = {
            name: {number: held for number, held in fields.items() if held in found} for name, fields in inside.items()
        }
        grown = {"TensorProto": found["TensorProto"], **{name: fields for name, fields in leading.items() if fields}}
        if grown == found:
            break
        found = grown
    assert found == _INSIDE


def test_texts_of_other_fields_are_no_names(tmp_path: Path) -> None:
    model = onnx.load(save_with_external_weights(tmp_path))
    entry = model.metadata_props.add()
    entry.key, entry.value = "location", "here"
    onnx.save(model, tmp_path / "whole.onnx")
    assert external_files((tmp_path / "whole.onnx").read_bytes()) == ()


@pytest.mark.parametrize("form", ["key first", "value first", "key twice"])
def test_names_are_found_in_any_order_of_fields(tmp_path: Path, form: str) -> None:
    path = save_with_external_weights(tmp_path)
    key, value = LOCATION, b"\x12\x0bweights.bin"
    written = {"key first": key + value, "value first": value + key, "key twice": b"\x0a\x08locatioN" + value + key}
    model = onnx.load(path, load_external_data=False)
    tensor = model.graph.initializer[0]
    entries = [written[form], *(one.SerializeToString() for one in tensor.external_data if one.key != "location")]
    del tensor.external_data[:]
    whole = tensor.SerializeToString() + b"".join(b"\x6a" + bytes([len(one)]) + one for one in entries)
    del model.graph.initializer[:]
    graph = model.graph.SerializeToString() + b"\x2a" + bytes([len(whole)]) + whole
    model.ClearField("graph")
    path.write_bytes(model.SerializeToString() + b"\x3a" + varint(len(graph)) + graph)
    assert external_files(path.read_bytes()) == ("weights.bin",)
    runtime = {"run_by": "onnxruntime"}
    before = load_classifier(f"onnx:{path}", ["a", "b"], model_args=runtime)
    images = torch.rand(2, 3, 4, 4)
    scores = before(images)
    weights = np.fromfile(tmp_path / "weights.bin", np.float32)
    (weights + 1).tofile(tmp_path / "weights.bin")
    after = load_classifier(f"onnx:{path}", ["a", "b"], model_args=runtime)
    assert not torch.equal(after(images), scores)
    assert after.fingerprint() != before.fingerprint()


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
