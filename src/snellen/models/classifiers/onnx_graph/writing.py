"""An ONNX file with other numbers in it: what was trained in torch goes back into the graph that it came from.

The graph stays as it is, with its names, its outputs and its shapes. An export of the torch module would be another
graph, and none at all where shapes are computed from the images, as those of class tokens are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snellen.core.errors import UnsupportedError, import_extra
from snellen.models.classifiers.onnx_graph.layers import Operation
from snellen.models.classifiers.onnx_graph.module import OnnxModule

_PURPOSE = "writing an ONNX file"

#: Modules of torch that stand for a node → the places of their tensors among its inputs.
_PLACES: Mapping[type[nn.Module], Mapping[int, str]] = {
    nn.Conv2d: {1: "weight", 2: "bias"},
    nn.Linear: {1: "weight", 2: "bias"},
    nn.LayerNorm: {1: "weight", 2: "bias"},
    nn.BatchNorm2d: {1: "weight", 2: "bias", 3: "running_mean", 4: "running_var"},
}


def with_numbers_of(module: OnnxModule, content: bytes, folder: Path) -> bytes:
    """The file from which a module was made, with the numbers that the module has now.

    Args:
        module: made of this file, and trained since.
        content: of the file.
        folder: of external files; their numbers become part of the result.

    Returns:
        Content of the new file.

    Raises:
        UnsupportedError: another graph, a file of 2 GB or more, numbers of the type bfloat16, or a bias where the graph
            has no place for one.
        MissingExtraError: onnx is not installed.
    """
    onnx = import_extra("onnx", "onnx", _PURPOSE)
    model = onnx.load_model_from_string(content)
    if model.functions:
        model = import_extra("onnx.inliner", "onnx", _PURPOSE).inline_local_functions(model)
    onnx.load_external_data_for_model(model, str(folder))
    graph = model.graph
    nodes = {node.output[0]: node for node in graph.node}
    for name, output in module.origins.items():
        if output not in nodes:
            raise UnsupportedError(f"the file has no node that gives {output!r}: it is not the one that was loaded")
        for place, tensor in _tensors(module.get_submodule(name), nodes[output]).items():
            node, fresh = nodes[output], f"{name}.input_{place}"
            if tensor.dtype == torch.bfloat16:
                raise UnsupportedError("numbers of the type bfloat16, which arrays do not have")
            array = tensor.detach().cpu().contiguous().numpy()
            graph.initializer.append(onnx.numpy_helper.from_array(array, fresh))
            node.input.extend([""] * (place + 1 - len(node.input)))
            node.input[place] = fresh
    _drop_unused(graph)
    try:
        written: bytes = model.SerializeToString()
    except ValueError as error:  # the limit of a message of protobuf
        raise UnsupportedError("an ONNX file of 2 GB or more cannot be written as one file") from error
    return written


def _tensors(layer: nn.Module, node: Any) -> dict[int, Tensor]:  # noqa: ANN401 - a NodeProto, of an extra
    """Numbers of a layer, by their places among the inputs of its node."""
    if isinstance(layer, Operation):
        held = {place: getattr(layer, f"constant_{place}", None) for place in range(layer.places)}
        return {place: value for place, value in held.items() if value is not None and value.is_floating_point()}
    places = _PLACES.get(type(layer), {})
    found = {place: value for place, name in places.items() if (value := getattr(layer, name)) is not None}
    if isinstance(layer, nn.Linear):
        turned = any(one.name == "transB" and one.i for one in node.attribute)
        found[1] = found[1] if turned else found[1].T
        if node.op_type == "MatMul" and 2 in found:
            raise UnsupportedError("a product of matrices has no place for the bias that its layer got")
    return found


def _drop_unused(graph: Any) -> None:  # noqa: ANN401 - a GraphProto, of an extra
    """Constants that no node takes any more; and nodes that made a constant of constants, which is there now."""
    while True:
        taken = {name for node in graph.node for name in node.input} | {one.name for one in graph.output}
        idle = [node for node in graph.node if not taken.intersection(node.output)]
        if not idle:
            break
        for node in idle:
            graph.node.remove(node)
    inputs = {one.name for one in graph.input}
    for entry in [one for one in graph.initializer if one.name not in taken]:
        graph.initializer.remove(entry)
        if entry.name in inputs:  # as files before IR version 4 have it
            graph.input.remove(next(one for one in graph.input if one.name == entry.name))
