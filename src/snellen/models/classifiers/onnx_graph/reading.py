"""An ONNX file as a plain description: nodes in order, constants as tensors, and what is refused by name."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from snellen.core.errors import UnsupportedError, import_extra

#: What a node says beside its inputs: numbers, texts, lists of them, or a tensor.
Attribute: TypeAlias = "int | float | str | list[int] | list[float] | list[str] | Tensor"

#: Parts of names of operators that compute with rounded numbers.
_QUANTISED = ("qlinear", "quantize", "integer", "qattention", "qgemm", "matmulnbits")

_PURPOSE = "gradients of an ONNX model"

#: Domains whose operators are those of ONNX itself.
STANDARD = ("", "ai.onnx")


@dataclass(frozen=True, eq=False)
class Node:
    """One operation of a graph.

    Attributes:
        kind: the operator, with its domain in front where that is not ONNX itself: ``Conv``, ``com.microsoft.Gelu``.
        inputs: names of values; an empty name is an input that is left out.
        outputs: names of values.
        attributes: by name.
        scope: full name of the torch module that the operation was exported from; empty where the file does not say.
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]
    scope: str


@dataclass(frozen=True, eq=False)
class Graph:
    """A graph with one input and one output that is used.

    Attributes:
        nodes: in an order in which each comes after those whose outputs it takes.
        constants: values that do not depend on the input.
        source: name of the input; empty where there is none.
        result: name of the output.
        opset: version of the operators.
    """

    nodes: tuple[Node, ...]
    constants: Mapping[str, Tensor]
    source: str
    result: str
    opset: int


def read_graph(content: bytes, folder: Path | None, result: str) -> Graph:
    """Read a serialised model.

    Args:
        content: of the file; names of external files were checked before.
        folder: of external files; None where the model comes from memory, which has none.
        result: name of the output that is used.

    Raises:
        UnsupportedError: quantised operators, graphs inside of graphs, types of numbers that torch does not have, or
            weights in other files that cannot be read.
        MissingExtraError: onnx is not installed.
    """
    onnx = import_extra("onnx", "onnx", _PURPOSE)
    model = onnx.load_model_from_string(content)
    if model.functions:
        model = import_extra("onnx.inliner", "onnx", _PURPOSE).inline_local_functions(model)
    if folder is not None:
        try:
            onnx.load_external_data_for_model(model, str(folder))
        except Exception as error:
            # Without the error's own words, which hold paths: this becomes a note of the report.
            raise UnsupportedError(f"weights beside the file that cannot be read ({type(error).__name__})") from error
    graph = model.graph
    constants = {entry.name: _tensor(onnx, entry) for entry in graph.initializer}
    if graph.sparse_initializer:
        raise UnsupportedError("sparse weights")
    nodes = tuple(_node(onnx, entry) for entry in graph.node)
    _refuse_quantised(nodes)
    opset = max((entry.version for entry in model.opset_import if entry.domain in STANDARD), default=1)
    source = next((entry.name for entry in graph.input if entry.name not in constants), "")
    return Graph(_needed(nodes, result), constants, source, result, opset)


def _node(onnx: Any, entry: Any) -> Node:  # noqa: ANN401 - of an extra
    kind = entry.op_type if entry.domain in STANDARD else f"{entry.domain}.{entry.op_type}"
    attributes = {one.name: _attribute(onnx, one, kind) for one in entry.attribute}
    return Node(kind, tuple(entry.input), tuple(entry.output), attributes, _scope(entry))


def _attribute(onnx: Any, entry: Any, kind: str) -> Attribute:  # noqa: ANN401 - of an extra
    value = onnx.helper.get_attribute_value(entry)
    if isinstance(value, onnx.TensorProto):
        return _tensor(onnx, value)
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if isinstance(value, int | float):
        return value
    if isinstance(value, Sequence) and all(isinstance(one, int | float | bytes) for one in value):
        return [one.decode("utf-8", errors="replace") if isinstance(one, bytes) else one for one in value]
    raise UnsupportedError(f"operator {kind} with the attribute {entry.name}, a {type(value).__name__}")


def _tensor(onnx: Any, entry: Any) -> Tensor:  # noqa: ANN401 - of an extra
    array = onnx.numpy_helper.to_array(entry)
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.astype(np.float32)).to(torch.bfloat16)
    try:
        return torch.from_numpy(np.array(array))  # a copy: arrays of onnx may not be written to
    except TypeError as error:
        raise UnsupportedError(f"a constant of type {array.dtype}, which torch does not have") from error


def _refuse_quantised(nodes: Sequence[Node]) -> None:
    found = sorted({node.kind for node in nodes if any(part in node.kind.lower() for part in _QUANTISED)})
    if found:
        raise UnsupportedError(
            f"the quantised operators {', '.join(found)}, whose gradients are zero almost everywhere; give the file "
            f"from before quantisation"
        )


def _needed(nodes: Sequence[Node], result: str) -> tuple[Node, ...]:
    """The nodes that the result depends on, in the order of the file, which ONNX requires to be a topological one."""
    wanted, kept = {result}, []
    for node in reversed(nodes):
        if wanted.intersection(node.outputs):
            kept.append(_trimmed(node, wanted))
            wanted.update(node.inputs)
    return tuple(reversed(kept))


def _trimmed(node: Node, wanted: set[str]) -> Node:
    """The node without outputs at its end that nobody takes, such as the mask of a dropout; a split keeps them."""
    count = max(number for number, name in enumerate(node.outputs, 1) if name in wanted)
    return node if node.kind == "Split" else replace(node, outputs=node.outputs[:count])


# -- names of modules ----------------------------------------------------------------------------------------------

#: Longest part of a name, and most parts, that are taken over from a file.
_LONGEST, _DEEPEST = 64, 16


def _scope(entry: Any) -> str:  # noqa: ANN401 - a NodeProto, of an extra
    """Full name of the module that an exporter of torch noted at a node, or nothing."""
    weights = [name for name in entry.input if re.fullmatch(r"[\w.]+\.weight", name)]
    if entry.op_type in ("Conv", "Gemm", "ConvTranspose") and weights:
        return _clean(weights[0].removesuffix(".weight"))
    noted = {one.key: one.value for one in entry.metadata_props}.get("pkg.torch.onnx.name_scopes")
    if noted is not None:
        try:
            names = ast.literal_eval(noted)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return ""
        modules = names[:-1] if isinstance(names, list) else []
        return _clean(str(modules[-1])) if modules else ""
    parts = entry.name.split("/")[1:-1] if entry.name.startswith("/") else []
    full = ""
    for part in parts:
        full = part if not full or part.startswith(f"{full}.") else f"{full}.{part}"
    return _clean(full)


def _clean(name: str) -> str:
    """A name of a module as a file gives it, made of word characters and dots.

    >>> _clean("features.0.block-1")
    'features.0.block_1'
    """
    parts = [re.sub(r"\W", "_", part)[:_LONGEST] for part in name.split(".") if part]
    return ".".join(parts[:_DEEPEST])


def layer_names(nodes: Sequence[Node]) -> list[str]:
    """A name for each node: that of its module for the last node of a module without modules inside, else with a part.

    >>> linear = Node("MatMul", (), (), {}, "head")
    >>> layer_names([linear, Node("Add", (), (), {}, "head"), Node("Relu", (), (), {}, "")])
    ['head.matmul', 'head', 'relu']
    """
    inside = {node.scope.rsplit(".", depth)[0] for node in nodes for depth in range(1, node.scope.count(".") + 1)}
    last = {node.scope: number for number, node in enumerate(nodes) if node.scope and node.scope not in inside}
    taken: set[str] = set(last) | inside
    names = []
    for number, node in enumerate(nodes):
        if last.get(node.scope) == number:
            names.append(node.scope)
            continue
        part = re.sub(r"\W", "_", node.kind).lower()
        base = name = f"{node.scope}.{part}" if node.scope else part
        count = 1
        while name in taken:
            name, count = f"{base}_{count}", count + 1
        taken.add(name)
        names.append(name)
    return names
