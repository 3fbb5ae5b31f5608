"""ONNX files and models that cannot be used, and what is said about them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor

from snellen.core.errors import InputError, ModelError
from snellen.models.classifiers import onnx_models
from snellen.models.classifiers.references import load_classifier

NAMES = ["a", "b", "c", "d"]
RUNTIME = {"run_by": "onnxruntime"}
Write = Callable[..., Path]
Logits = Callable[..., Tensor]


def sidecar(path: Path, **fields: object) -> Path:
    target = path.with_name(path.name + ".json")
    target.write_text(json.dumps(fields), encoding="utf-8")
    return target


def test_outputs_that_are_not_finite_are_refused(tmp_path: Path, write_graph: Write) -> None:
    path = write_graph(tmp_path / "net.onnx", bias=np.array([0, np.nan, 0, 0], dtype=np.float32))
    with pytest.raises(ModelError, match=r"onnx:net\.onnx gives NaN outputs"):
        load_classifier(f"onnx:{path}", NAMES)


@pytest.mark.parametrize("count", [3, 5])
def test_another_number_of_class_names(tmp_path: Path, count: int, write_graph: Write) -> None:
    path = write_graph(tmp_path / "net.onnx")
    names = [str(i) for i in range(count)]
    with pytest.raises(InputError, match=rf"4 outputs, but {count} class names came.*--classes"):
        load_classifier(f"onnx:{path}", names)
    sidecar(path, class_names=names)
    with pytest.raises(ModelError, match=rf"4 outputs, but names {count} classes.*--classes"):
        load_classifier(f"onnx:{path}")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (("n", 8, 6, 3), "channels at position 1. It looks like .n, height, width, channels."),
        (("n", 4, 8, 6), "expected 1 or 3 channels at position 1.$"),
    ],
)
def test_other_layouts_are_refused(tmp_path: Path, shape: Sequence[int | str], message: str) -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["images"], ["same"])],
        "test",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("same", TensorProto.FLOAT, shape)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "x.onnx")
    with pytest.raises(InputError, match=message):
        load_classifier(f"onnx:{tmp_path / 'x.onnx'}", NAMES)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            [("a", TensorProto.FLOAT, ("n", 3, 4, 4)), ("b", TensorProto.FLOAT, ("n", 3, 4, 4))],
            r"takes 2 inputs \(a, b\)",
        ),
        ([("a", TensorProto.UINT8, ("n", 3, 4, 4))], r"input 'a' is tensor\(uint8\); expected floats"),
        ([("a", TensorProto.FLOAT, ("n", 12))], r"shape \['n', 12\]; expected \(n, channels, height, width\)"),
    ],
)
def test_other_inputs_are_refused(tmp_path: Path, inputs: list[tuple[str, int, tuple[object]]], message: str) -> None:
    values = [helper.make_tensor_value_info(*entry) for entry in inputs]
    name, kind, shape = inputs[0]
    graph = helper.make_graph(
        [helper.make_node("Identity", [name], ["same"])],
        "test",
        values,
        [helper.make_tensor_value_info("same", kind, shape)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "x.onnx")
    with pytest.raises(InputError, match=message):
        load_classifier(f"onnx:{tmp_path / 'x.onnx'}", NAMES)


def test_files_that_are_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture, write_graph: Write
) -> None:
    with pytest.raises(InputError, match="no ONNX file at"):
        load_classifier(f"onnx:{tmp_path / 'none.onnx'}", NAMES)
    for content in (b"", b"this is not a model", write_graph(tmp_path / "net.onnx").read_bytes()[:-20]):
        (tmp_path / "bad.onnx").write_bytes(content)
        with pytest.raises(InputError, match="is not an ONNX model"):
            load_classifier(f"onnx:{tmp_path / 'bad.onnx'}", NAMES)
    monkeypatch.setattr(onnx_models, "MAX_BYTES", 10)
    with pytest.raises(InputError, match="more than an ONNX file can have"):
        load_classifier(f"onnx:{tmp_path / 'net.onnx'}", NAMES)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_text_as_output_is_refused(tmp_path: Path, write_graph: Write) -> None:
    tail = [helper.make_node("Cast", ["scores"], ["text"], to=TensorProto.STRING)]
    path = write_graph(tmp_path / "net.onnx", tail=tail, output=("text", TensorProto.STRING))
    with pytest.raises(InputError, match=r"first output 'text' is tensor\(string\); expected a tensor of numbers"):
        load_classifier(f"onnx:{path}", NAMES)


def test_metal_is_refused(tmp_path: Path, write_graph: Write) -> None:
    with pytest.raises(InputError, match="runs on cpu or cuda, not on mps"):
        onnx_models.load(str(write_graph(tmp_path / "net.onnx")), torch.device("mps"), RUNTIME)


def test_cuda_needs_a_runtime_with_cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_graph: Write) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(InputError, match="install onnxruntime-gpu"):
        onnx_models.load(str(write_graph(tmp_path / "net.onnx")), torch.device("cuda"), RUNTIME)


def test_a_runtime_that_falls_back_to_the_cpu_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_graph: Write
) -> None:
    original = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda path, options, providers: original(path, options, providers[1:])
    )
    with pytest.raises(InputError, match="cannot start CUDA"):
        onnx_models.load(str(write_graph(tmp_path / "net.onnx")), torch.device("cuda"), RUNTIME)
