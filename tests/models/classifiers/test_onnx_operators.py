"""Each operator against the node tests of ONNX, which say for many forms of it what comes out."""

import warnings
from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from onnx.backend.test.case.node import collect_testcases

from snellen.core.errors import UnsupportedError
from snellen.models.classifiers.onnx_graph.call import Call
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


def test_a_missing_input_is_an_error_that_names_the_operator() -> None:
    with pytest.raises(UnsupportedError, match="operator Relu without its input 1"):
        OPERATORS["Relu"](Call("Relu", (), {}, 20))
