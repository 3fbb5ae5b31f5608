"""The module of a node: torch's own where it has one, so that methods find convolutions and linear layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from snellen.core.errors import UnsupportedError
from snellen.models.classifiers.onnx_graph.call import Call, Operator
from snellen.models.classifiers.onnx_graph.networks import OPERATORS
from snellen.models.classifiers.onnx_graph.reading import Node

#: What a layer is made of: its call with constants in place, None at inputs that are computed.
Build = Callable[[Call], "nn.Module | None"]


class Operation(nn.Module):
    """An operator with its constants inside; it is called with the other inputs, in their order.

    Args:
        node: what is computed.
        constants: of the inputs, None at those that are computed or left out.
        computed: places of the inputs that are computed.
        opset: version of the operators.
    """

    def __init__(self, node: Node, constants: Sequence[Tensor | None], computed: Sequence[int], opset: int) -> None:
        super().__init__()
        self.kind, self.opset, self.computed, self.attributes = node.kind, opset, tuple(computed), node.attributes
        self.places, self.outputs = len(constants), len(node.outputs)
        self._operator = operator_of(node.kind)
        #: Whether shapes that hold the batch size of the export follow the batch; see OnnxModule.free_batch.
        self.free_batch = False
        #: Of a Reshape: shapes before and after it in a pass with that batch size.
        self.reshaped: tuple[tuple[int, ...], tuple[int, ...]] | None = None
        #: Of a Reshape that splits the first axis: that batch size, where the batch is the second of the parts.
        self.second: int | None = None
        self._shapes: dict[int, Tensor] = {}  # whole numbers stay on the CPU, where shapes are computed
        for place, value in enumerate(constants):
            if value is not None and (value.is_floating_point() or value.numel() > 64):
                self.register_buffer(f"constant_{place}", value)
            elif value is not None:
                self._shapes[place] = value

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The inputs that are computed → the outputs of the operator."""
        if self.free_batch and self.reshaped is not None:
            return inputs[0].reshape(rebatched(*self.reshaped, tuple(inputs[0].shape), second=self.second))
        call = self._call(inputs)
        if self.free_batch and self.kind == "Concat" and self.attributes.get("axis") != 0:
            call = replace(call, inputs=tuple(_of_one_batch(call.tensors(), max(map(len, inputs)))))
        return self._operator(call)

    def _call(self, inputs: Sequence[Tensor]) -> Call:
        given: list[Tensor | None] = [
            self._shapes.get(place, getattr(self, f"constant_{place}", None)) for place in range(self.places)
        ]
        for place, value in zip(self.computed, inputs, strict=True):
            given[place] = value
        return Call(self.kind, tuple(given), self.attributes, self.opset, self.outputs)

    def extra_repr(self) -> str:
        """The operator and what it is given."""
        return ", ".join([self.kind, *(f"{name}={value!r}" for name, value in self.attributes.items())])


def rebatched(
    taken: tuple[int, ...], given: tuple[int, ...], now: tuple[int, ...], *, second: int | None = None
) -> tuple[int, ...]:
    """The shape after a reshape for another batch size, from the shapes for one; a guess where that size is 1.

    >>> rebatched((1, 197, 768), (1, 197, 12, 64), (5, 197, 768))
    (5, 197, 12, 64)
    >>> rebatched((197, 1, 768), (197, 12, 64), (197, 5, 768))
    (197, 60, 64)
    >>> rebatched((197, 1, 768), (197, 768), (197, 5, 768))
    (985, 768)

    Args:
        taken: shape before, at the batch size of the export.
        given: shape after, at that size.
        now: shape before, at another size: one axis differs.
        second: the batch size of the export; a first axis is then split so that the batch is the second of its parts,
            as attention does that has tokens in front of images.
    """
    axis = next((place for place, (old, new) in enumerate(zip(taken, now, strict=True)) if old != new), None)
    if axis is None:
        return given
    rest = taken[axis + 1 :]
    place = 0
    if not axis and second is not None and len(given) > 1 and given[1] == second and given[0] * second == taken[0]:
        place = 1
    elif axis:
        # The axes behind the batch stay, or become one; else one of them is split, and the batch goes before its parts.
        ends = [one for one in range(1, len(given)) if math.prod(given[one:]) == math.prod(rest)]
        kept = bool(ends) and len(given) - ends[-1] <= len(rest)
        before = math.prod(taken[:axis])
        split = (one for one in range(len(given)) if math.prod(given[:one]) == before)
        place = ends[-1] - 1 if kept else next(split, 0)
        if not kept and place and given[place] == math.prod(taken[axis:]):  # heads of one image become one axis
            place -= 1
    size = given[place] * now[axis] // taken[axis]
    return (*given[:place], size, *given[place + 1 :])


def _of_one_batch(tensors: list[Tensor], size: int) -> list[Tensor]:
    """Tensors of one batch size: constants of another, such as class tokens, are alike for all images."""
    return [one if len(one) == size else one[:1].expand(size, *one.shape[1:]) for one in tensors]


def operator_of(kind: str) -> Operator:
    """The function of an operator.

    Raises:
        UnsupportedError: one that is not built.
    """
    if kind not in OPERATORS:
        raise UnsupportedError(f"operator {kind}")
    return OPERATORS[kind]


def layer(node: Node, constants: Sequence[Tensor | None], computed: Sequence[int], opset: int) -> nn.Module:
    """The module of a node; see :class:`Operation` for its arguments.

    Raises:
        UnsupportedError: an operator that is not built.
    """
    operator_of(node.kind)
    build = _LAYERS.get(node.kind)
    made = None
    if build is not None and list(computed) == [0] and len(node.outputs) == 1:
        made = build(Call(node.kind, tuple(constants), node.attributes, opset))
    return Operation(node, constants, computed, opset) if made is None else made


def _filled(module: nn.Module, tensors: Mapping[str, Tensor | None]) -> nn.Module:
    """The module with these tensors as its parameters and buffers."""
    for name, value in tensors.items():
        if value is not None:
            held = getattr(module, name)
            setattr(module, name, nn.Parameter(value, requires_grad=False) if isinstance(held, nn.Parameter) else value)
    return module.eval()


def _convolution(call: Call) -> nn.Module | None:
    weight, bias = call.tensor(1), call.optional(2)
    kernel = weight.shape[2:]
    pads = call.list_of("pads") or [0] * (2 * len(kernel))
    if len(kernel) != 2 or pads[:2] != pads[2:] or call.text("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return None
    groups = call.whole("group", 1)
    made = nn.Conv2d(
        weight.shape[1] * groups,
        weight.shape[0],
        (kernel[0], kernel[1]),
        stride=_pair(call.list_of("strides") or [1, 1]),
        padding=_pair(pads),
        dilation=_pair(call.list_of("dilations") or [1, 1]),
        groups=groups,
        bias=bias is not None,
        device="meta",
    )
    return _filled(made, {"weight": weight, "bias": bias})


def _pair(values: Sequence[int]) -> tuple[int, int]:
    return values[0], values[1]


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Module:
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    return _filled(made, {"weight": weight.contiguous(), "bias": bias})


def _gemm(call: Call) -> nn.Module | None:
    weight, bias = call.tensor(1), call.optional(2)
    plain = call.number("alpha", 1.0) == 1.0 and call.number("beta", 1.0) == 1.0 and not call.whole("transA")
    if not plain or (bias is not None and bias.ndim != 1):
        return None
    return _linear(weight if call.whole("transB") else weight.T, bias)


def _product(call: Call) -> nn.Module | None:
    return _linear(call.tensor(1).T, None) if call.tensor(1).ndim == 2 else None


def _batch_norm(call: Call) -> nn.Module | None:
    if call.whole("training_mode"):
        return None
    scale, bias, mean, variance = (call.tensor(place) for place in range(1, 5))
    made = nn.BatchNorm2d(len(scale), eps=call.number("epsilon", 1e-5), device="meta")
    made.num_batches_tracked = torch.tensor(0)
    return _filled(made, {"weight": scale, "bias": bias, "running_mean": mean, "running_var": variance})


def _layer_norm(call: Call) -> nn.Module | None:
    scale, bias = call.tensor(1), call.optional(2)
    if call.whole("axis", -1) != -1 or scale.ndim != 1:
        return None
    made = nn.LayerNorm(len(scale), eps=call.number("epsilon", 1e-5), bias=bias is not None, device="meta")
    return _filled(made, {"weight": scale, "bias": bias})


def _softmax(call: Call) -> nn.Module | None:
    return nn.Softmax(call.whole("axis", -1)) if call.opset >= 13 else None


_LAYERS: dict[str, Build] = {
    "Conv": _convolution,
    "Gemm": _gemm,
    "MatMul": _product,
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "Relu": lambda call: nn.ReLU(),
    "Sigmoid": lambda call: nn.Sigmoid(),
    "Tanh": lambda call: nn.Tanh(),
    "HardSwish": lambda call: nn.Hardswish(),
    "Gelu": lambda call: nn.GELU(call.text("approximate", "none")),
    "LeakyRelu": lambda call: nn.LeakyReLU(call.number("alpha", 0.01)),
    "Elu": lambda call: nn.ELU(call.number("alpha", 1.0)),
    "Mish": lambda call: nn.Mish(),
    "GlobalAveragePool": lambda call: nn.AdaptiveAvgPool2d(1),
    "Identity": lambda call: nn.Identity(),
    "Softmax": _softmax,
}
