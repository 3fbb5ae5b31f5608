"""A graph of ONNX as a torch module: nodes in their order, each a named layer with its own weights.

Weights, and what is computed of constants alone, are worked out once. Shapes are computed on the CPU in each pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from snellen.core.errors import UnsupportedError
from snellen.models.classifiers.onnx_graph.call import Call
from snellen.models.classifiers.onnx_graph.layers import Operation, layer, operator_of
from snellen.models.classifiers.onnx_graph.reading import Graph, Node, layer_names

#: Operators between pooled features and the last linear layer that change no number.
_PASSING = ("Identity", "Dropout", "Flatten", "Reshape", "Squeeze")


#: Memory for what is computed of constants alone, bytes, beside four times that of the constants in the file.
MOST_MADE = 2**28


@dataclass(frozen=True)
class _Step:
    """A layer, the values it takes and gives, and the values that nobody needs after it."""

    layer: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    finished: tuple[str, ...]


class OnnxModule(nn.Module):
    """Normalised images (n, 3, h, w) → outputs (n, k), with gradients, and a layer for each node.

    Args:
        graph: what is computed.
        dtype: of the input.
        grey: feed the mean of the channels, (n, 1, h, w).

    Raises:
        UnsupportedError: an operator that is not built; the message names it. Or constants that are much larger than
            the file.
    """

    def __init__(self, graph: Graph, *, dtype: torch.dtype = torch.float32, grey: bool = False) -> None:
        super().__init__()
        self._grey, self._source, self._result = grey, graph.source, graph.result
        #: Type of numbers that images are cast to.
        self.input_dtype = dtype
        # Before layers get their names, which must not be those of attributes.
        self._steps: tuple[_Step, ...] = ()
        #: Name of each layer → the first output of its node, by which the node is found in the file.
        self.origins: dict[str, str] = {}
        #: Name of the layer that gives what the last linear layer takes, None where there is no such layer.
        self.feature_layer: str | None = None
        values = dict(graph.constants)
        moving: list[Node] = []
        computed = {graph.source}
        layers: dict[str, nn.Module] = {}
        with _Limited(MOST_MADE + 4 * _stored(graph)):
            for node in graph.nodes:
                operator = operator_of(node.kind)
                if computed.intersection(node.inputs):
                    moving.append(node)
                    computed.update(node.outputs)
                    continue
                call = Call(node.kind, _given(node, values), node.attributes, graph.opset, len(node.outputs))
                values.update(zip(node.outputs, _as_tuple(operator(call)), strict=False))
            if graph.result not in computed:
                raise UnsupportedError("an output that does not depend on the image")
            names = layer_names(moving)
            for node, name in zip(moving, names, strict=True):
                places = [place for place, one in enumerate(node.inputs) if one in computed]
                layers[name] = layer(node, _given(node, values, computed), places, graph.opset)
        real = _placed(self, layers)
        self._steps = _steps(moving, [real[name] for name in names], computed, graph.result)
        self.origins = {real[name]: node.outputs[0] for node, name in zip(moving, names, strict=True)}
        feature_layer = _feature_layer(moving, names, graph.result)
        self.feature_layer = None if feature_layer is None else real[feature_layer]

    def forward(self, images: Tensor) -> Tensor:
        """Run the graph."""
        fed = images.mean(1, keepdim=True) if self._grey else images
        values = {self._source: fed.to(self.input_dtype)}
        for step in self._steps:
            found = self.get_submodule(step.layer)(*[values[name] for name in step.inputs])
            values.update(zip(step.outputs, _as_tuple(found), strict=False))
            for name in step.finished:
                values.pop(name, None)
        outputs = values[self._result]
        while outputs.ndim > 2 and outputs.shape[-1] == 1:  # (n, k, 1, 1) is what a pooled convolution gives
            outputs = outputs.squeeze(-1)
        return outputs

    def free_batch(self, images: Tensor, *, tokens_first: bool = False) -> None:
        """Let a graph that was exported for one batch size take any; a comparison must show whether that is right.

        Args:
            images: a batch of the size that the graph was exported for; one pass records the shapes.
            tokens_first: take it that axes of tokens come before that of the images.
        """
        operations = [layer for layer in self.modules() if isinstance(layer, Operation)]

        def record(operation: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            assert isinstance(operation, Operation)
            operation.reshaped = (tuple(inputs[0].shape), tuple(output.shape))

        handles = [one.register_forward_hook(record) for one in operations if one.kind == "Reshape"]
        try:
            with torch.no_grad():
                self(images)
        finally:
            for handle in handles:
                handle.remove()
        for one in operations:
            one.free_batch, one.second = True, len(images) if tokens_first else None


class _Limited(TorchDispatchMode):
    """Refuses operations of torch whose results need more memory than is left, before they are made.

    What a result needs is found on the device ``meta``, which computes shapes alone. So it holds for each operator.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most, self._left = most, most

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - an OpOverload, whose signature is open
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run one operation."""
        named = dict(kwargs or {})
        if all(one.alias_info is not None for one in func._schema.returns) or _on_meta(named.get("device")):
            return func(*args, **named)  # a view, or in place
        shadows, named_shadows = tree_map_only(Tensor, _shadow, (args, named))
        if any(one.name == "device" for one in func._schema.arguments):
            named_shadows["device"] = "meta"
        try:
            needed = func(*shadows, **named_shadows)
        except (NotImplementedError, RuntimeError):  # the shape depends on the numbers, or the call is wrong
            found = func(*args, **named)
            self._spend(found)
            return found
        self._spend(needed)
        return func(*args, **named)

    def _spend(self, found: object) -> None:
        self._left -= sum(one.numel() * one.element_size() for one in tree_leaves(found) if isinstance(one, Tensor))
        if self._left < 0:
            raise UnsupportedError(f"a graph that makes constants of more than {self._most} bytes")


def _on_meta(device: object) -> bool:
    return device is not None and torch.device(str(device)).type == "meta"


def _shadow(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def _stored(graph: Graph) -> int:
    """Bytes of the constants that the file holds."""
    attributes = (value for node in graph.nodes for value in node.attributes.values())
    held = [*graph.constants.values(), *(value for value in attributes if isinstance(value, Tensor))]
    return sum(one.numel() * one.element_size() for one in held)


def _given(
    node: Node, values: dict[str, Tensor], computed: set[str] | frozenset[str] = frozenset()
) -> tuple[Tensor | None, ...]:
    """The constants among a node's inputs."""
    missing = [name for name in node.inputs if name and name not in values and name not in computed]
    if missing:
        raise UnsupportedError(f"operator {node.kind} of {missing[0]!r}, a value that is nowhere in the graph")
    return tuple(values.get(name) if name not in computed else None for name in node.inputs)


def _as_tuple(found: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return found if isinstance(found, tuple) else (found,)


def _steps(nodes: Sequence[Node], names: Sequence[str], computed: set[str], result: str) -> tuple[_Step, ...]:
    last = {name: number for number, node in enumerate(nodes) for name in (*node.inputs, *node.outputs)}
    return tuple(
        _Step(
            name,
            tuple(one for one in node.inputs if one in computed),
            tuple(node.outputs),
            tuple(
                {
                    one: None
                    for one in (*node.inputs, *node.outputs)
                    if one in computed and last[one] == number and one != result
                }
            ),
        )
        for number, (node, name) in enumerate(zip(nodes, names, strict=True))
    )


def _placed(root: nn.Module, layers: dict[str, nn.Module]) -> dict[str, str]:
    """Put layers under their names, those of outer modules first; the names that they got.

    A part of a name that the module in its place has already, such as ``weight``, gets an underscore behind it.
    """
    real: dict[str, str] = {}
    for name in sorted(layers, key=lambda one: one.count(".")):
        parent, path = root, []
        *outer, own = name.split(".")
        for part in outer:
            while part not in parent._modules and hasattr(parent, part):
                part += "_"
            if part not in parent._modules:
                parent.add_module(part, nn.Module())
            inner = parent._modules[part]
            assert inner is not None
            parent = inner
            path.append(part)
        while hasattr(parent, own):
            own += "_"
        parent.add_module(own, layers[name])
        real[name] = ".".join([*path, own])
    return real


def _feature_layer(nodes: Sequence[Node], names: Sequence[str], result: str) -> str | None:
    """The layer in front of the last linear layer, flat or one vector at one place."""
    made = {output: (number, node) for number, node in enumerate(nodes) for output in node.outputs}
    value, linear = result, None
    while value in made and linear is None:
        _, node = made[value]
        if node.kind in ("Gemm", "MatMul") and node.inputs[1] not in made:
            linear = node
        elif node.kind in (*_PASSING, "Softmax", "LogSoftmax", "Sigmoid", "Add") and node.inputs:
            value = next((one for one in node.inputs if one in made), "")
        else:
            return None
    if linear is None:
        return None
    value = linear.inputs[0]
    while value in made and made[value][1].kind in ("Identity", "Dropout"):
        value = made[value][1].inputs[0]
    return names[made[value][0]] if value in made else None
