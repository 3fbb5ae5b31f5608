"""Each operator against the node tests of ONNX, which say for many forms of it what comes out."""

import warnings
from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.case.node import collect_testcases

from snellen.core.errors import UnsupportedError
from snellen.models.classifiers.onnx_graph import module
from snellen.models.classifiers.onnx_graph.call import Call
from snellen.models.classifiers.onnx_graph.module import OnnxModule
from snellen.models.classifiers.onnx_graph.networks import OPERATORS
from snellen.models.classifiers.onnx_graph.reading import read_graph

#: What no classifier needs: NaN where all keys are masked, no numbers at all, which of equal numbers comes first.
OTHERWISE = (
    "nan_robustness",
    "fullymasked",
    "mode3_softmax_precision",
    "empty_set",
    "same_values",
    "out_of_range",
    "fp16",
    "int8_inbounds",
    "cumsum_2d_int32",
)

#: Operators that the node tests do not have, or only with types that torch lacks.
ELSEWHERE = {"Cast", "CastLike", "com.microsoft.Gelu", "com.microsoft.QuickGelu"}

#: Numbers that torch takes from NumPy and computes with.
KINDS = {
    np.dtype(kind) for kind in ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")
}


def test_operators_give_what_the_node_tests_of_onnx_expect() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the cases themselves, which divide by zero
        cases = collect_testcases(None)
    passed: Counter[str] = Counter()
    wrong = []
    for case in cases:
        if case.model is None or len(case.model.graph.node) != 1 or any(part in case.name for part in OTHERWISE):
            continue
        entry = case.model.graph.node[0]
        if entry.domain or entry.op_type not in OPERATORS or entry.op_type in ELSEWHERE:
            continue
        for inputs, expected in case.data_sets:
            arrays = [one if isinstance(one, np.ndarray) else np.asarray(one) for one in inputs]
            if any(one.dtype not in KINDS for one in arrays):
                continue
            try:
                difference = _difference(case.model, arrays, [np.asarray(one) for one in expected])
            except UnsupportedError:
                continue
            if difference:
                wrong.append(f"{case.name}: {difference}")
            passed[entry.op_type] += not difference
    assert wrong == []
    assert sorted(set(OPERATORS) - ELSEWHERE - set(passed)) == []
    assert passed.total() > 600


def _difference(model: onnx.ModelProto, arrays: list[np.ndarray], expected: list[np.ndarray]) -> str:
    graph = read_graph(model.SerializeToString(), None, model.graph.node[0].output[0])
    node = graph.nodes[0]
    given = dict(zip([one.name for one in model.graph.input], arrays, strict=True))
    tensors = tuple(torch.from_numpy(np.array(given[name])) if name else None for name in node.inputs)
    found = OPERATORS[node.kind](Call(node.kind, tensors, node.attributes, graph.opset, len(node.outputs)))
    for ours, theirs in zip(found if isinstance(found, tuple) else (found,), expected, strict=False):
        if tuple(ours.shape) != theirs.shape or ours.numpy().dtype != theirs.dtype:
            return f"{ours.dtype} {tuple(ours.shape)} instead of {theirs.dtype} {theirs.shape}"
        if not np.allclose(ours.double().numpy(), theirs.astype(np.float64), rtol=1e-3, atol=1e-5, equal_nan=True):
            return "other numbers"
    return ""


@pytest.mark.parametrize("kind", ["Gelu", "QuickGelu"])
def test_the_two_operators_of_onnxruntime(kind: str) -> None:
    values = torch.linspace(-3, 3, 13)
    found = OPERATORS[f"com.microsoft.{kind}"](Call(kind, (values,), {}, 1))
    expected = torch.nn.functional.gelu(values) if kind == "Gelu" else values * torch.sigmoid(1.702 * values)
    assert torch.allclose(found, expected)


def test_types_are_cast() -> None:
    values = torch.tensor([1.7, -2.3])
    assert OPERATORS["Cast"](Call("Cast", (values,), {"to": 7}, 20)).tolist() == [1, -2]
    like = OPERATORS["CastLike"](Call("CastLike", (values, torch.tensor(0)), {}, 20))
    assert like.dtype == torch.int64
    with pytest.raises(UnsupportedError, match="operator Cast with a type of numbers"):
        OPERATORS["Cast"](Call("Cast", (values,), {"to": 8}, 20))


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("ConstantOfShape", (torch.tensor([2**20, 2**20]),)),
        ("Expand", (torch.zeros(1), torch.tensor([2**40]))),
        ("Tile", (torch.zeros(2), torch.tensor([2**40]))),
        ("Range", (torch.tensor(0.0), torch.tensor(1.0), torch.tensor(1e-30))),
    ],
)
def test_a_graph_cannot_ask_for_all_memory(kind: str, inputs: tuple[torch.Tensor, ...]) -> None:
    with pytest.raises(UnsupportedError, match="numbers as its output, more than"):
        OPERATORS[kind](Call(kind, inputs, {}, 20))


def built(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> OnnxModule:
    """A module that adds the value ``made`` to its images."""
    graph = helper.make_graph(
        [*nodes, helper.make_node("Add", ["images", "made"], ["sum"])],
        "test",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ("n", 3, 4, 4))],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    return OnnxModule(read_graph(model.SerializeToString(), None, "sum"))


COLUMN, ROW = np.zeros((512, 1), np.float32), np.zeros((1, 512), np.float32)
GROWING: dict[str, tuple[list[onnx.NodeProto], dict[str, np.ndarray]]] = {
    "add": ([helper.make_node("Add", ["column", "row"], ["made"])], {"column": COLUMN, "row": ROW}),
    "matmul": ([helper.make_node("MatMul", ["column", "row"], ["made"])], {"column": COLUMN, "row": ROW}),
    "einsum": (
        [helper.make_node("Einsum", ["column", "row"], ["made"], equation="ij,kl->il")],
        {"column": COLUMN, "row": ROW},
    ),
    "gather": (
        [helper.make_node("Gather", ["column", "places"], ["made"])],
        {"column": np.zeros((1, 64), np.float32), "places": np.zeros(512 * 8, np.int64)},
    ),
    "pad": (
        [helper.make_node("Pad", ["column", "pads"], ["made"])],
        {"column": COLUMN, "pads": np.array([0, 0, 0, 511], np.int64)},
    ),
    "one hot": (
        [helper.make_node("OneHot", ["places", "depth", "two"], ["made"])],
        {"places": np.zeros(64, np.int64), "depth": np.array(4096, np.int64), "two": np.zeros(2, np.float32)},
    ),
    "concat": (
        [helper.make_node("Concat", [f"c{i}"] * 2, [f"c{i + 1}" if i < 9 else "made"], axis=1) for i in range(10)],
        {"c0": COLUMN},
    ),
    "expand": (
        [helper.make_node("Expand", ["column", "shape"], ["wide"]), helper.make_node("Neg", ["wide"], ["made"])],
        {"column": COLUMN, "shape": np.array([512, 512], np.int64)},
    ),
}


@pytest.mark.parametrize("kind", GROWING)
def test_what_a_graph_makes_of_constants_is_limited(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes, constants = GROWING[kind]
    built(nodes, constants)
    monkeypatch.setattr(module, "MOST_MADE", 2**19)  # each makes a MiB
    with pytest.raises(UnsupportedError, match=r"a graph that makes constants of more than \d+ bytes"):
        built(nodes, constants)


def test_memory_is_refused_before_it_is_taken() -> None:
    wide = {"column": np.zeros((2**17, 1), np.float32), "row": np.zeros((1, 2**17), np.float32)}
    with pytest.raises(UnsupportedError, match="a graph that makes constants"):  # of 64 GiB
        built([helper.make_node("Add", ["column", "row"], ["made"])], wide)
    weight = [helper.make_node("Expand", ["one", "shape"], ["weight"])]
    gemm = helper.make_node("Gemm", ["images", "weight"], ["made"])
    with pytest.raises(UnsupportedError, match="a graph that makes constants"):  # when a layer is made of it
        built([*weight, gemm], {"one": np.zeros((1, 1), np.float32), "shape": np.array([2**14, 2**14], np.int64)})


def test_weights_may_be_turned_and_cast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_MADE", 0)
    nodes = [
        helper.make_node("Cast", ["weight"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["wide"], ["turned"]),
        helper.make_node("Neg", ["turned"], ["made"]),
    ]
    images = torch.rand(2, 3, 4, 4)
    found = built(nodes, {"weight": np.ones((4, 4), np.float16)})(images)
    assert torch.equal(found, images - 1)


def test_a_shape_has_few_numbers() -> None:
    call = Call("Reshape", (torch.zeros(4), torch.zeros(1, dtype=torch.int64).expand(2**30)), {}, 20)
    with pytest.raises(UnsupportedError, match="1073741824 numbers at input 2, more than 4096"):
        OPERATORS["Reshape"](call)


def test_a_missing_input_is_an_error_that_names_the_operator() -> None:
    with pytest.raises(UnsupportedError, match="operator Relu without its input 1"):
        OPERATORS["Relu"](Call("Relu", (), {}, 20))
