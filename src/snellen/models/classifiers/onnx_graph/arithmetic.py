"""Operators of ONNX that work number by number, compare or reduce."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.models.classifiers.onnx_graph.call import TYPES, Call, Operator


def _one(function: Callable[[Tensor], Tensor]) -> Operator:
    """An operator of one input."""
    return lambda call: function(call.tensor(0))


def _two(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    """An operator of two inputs, whose shapes are broadcast."""

    def both(call: Call) -> Tensor:
        first, second = call.tensors()
        return function(first, second)

    return both


def _several(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda call: reduce(function, call.tensors())


def _mean(call: Call) -> Tensor:
    return reduce(torch.add, call.tensors()) / len(call.tensors())


def _divide(first: Tensor, second: Tensor) -> Tensor:
    """ONNX rounds quotients of whole numbers towards zero."""
    return first / second if first.is_floating_point() else torch.div(first, second, rounding_mode="trunc")


def _power(first: Tensor, second: Tensor) -> Tensor:
    """ONNX keeps the type of the base."""
    return torch.pow(first, second.to(first.dtype) if first.is_floating_point() else second).to(first.dtype)


def _modulo(call: Call) -> Tensor:
    first, second = call.tensors()
    return torch.fmod(first, second) if call.whole("fmod") else torch.remainder(first, second)


def _clip(call: Call) -> Tensor:
    low, high = call.optional(1), call.optional(2)
    if low is None and high is None:  # attributes before opset 11
        return call.tensor(0).clamp(call.number("min", -math.inf), call.number("max", math.inf))
    values = call.tensor(0)
    # Numbers, not tensors: at a bound the gradient of clamp(x, number) is 1, as that of ReLU6 and clamp in torch.
    return values.clamp(None if low is None else low.item(), None if high is None else high.item())


def _gelu(call: Call) -> Tensor:
    return F.gelu(call.tensor(0), approximate=call.text("approximate", "none"))


def _swish(call: Call) -> Tensor:
    values = call.tensor(0)
    return values * torch.sigmoid(call.number("alpha", 1.0) * values)


def _hard_sigmoid(call: Call) -> Tensor:
    alpha, beta = call.number("alpha", 0.2), call.number("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return F.hardsigmoid(call.tensor(0))  # with the gradients of torch at the ends
    return (alpha * call.tensor(0) + beta).clamp(0, 1)


def _prelu(call: Call) -> Tensor:
    values, slope = call.tensors()
    return torch.where(values < 0, values * slope, values)


def _selu(call: Call) -> Tensor:
    alpha, gamma = call.number("alpha", 1.67326319217681884765625), call.number("gamma", 1.05070102214813232421875)
    return gamma * F.elu(call.tensor(0), alpha)


def _cast(call: Call) -> Tensor:
    kind = call.whole("to", 1)
    if kind not in TYPES:
        raise call.refuse(f"a type of numbers ({kind}) that torch does not have")
    return call.tensor(0).to(TYPES[kind])


def _where(call: Call) -> Tensor:
    condition, first, second = call.tensors()
    return torch.where(condition, first, second)


def _softmax(function: Callable[..., Tensor]) -> Operator:
    def softmax(call: Call) -> Tensor:
        values = call.tensor(0)
        if call.opset >= 13:
            return function(values, dim=call.whole("axis", -1))
        axis = call.whole("axis", 1) % values.ndim  # before opset 13 the axes from this one on are one
        return function(values.flatten(axis), dim=axis).view(values.shape)

    return softmax


def _reduction(function: Callable[[Tensor, list[int], bool], Tensor]) -> Operator:
    """An operator that reduces axes: all of them where none are named."""

    def reduced(call: Call) -> Tensor:
        values, axes = call.tensor(0), call.numbers(1, "axes")
        if not axes:
            if call.whole("noop_with_empty_axes"):
                return values
            axes = list(range(values.ndim))
        return function(values, axes, bool(call.whole("keepdims", 1)))

    return reduced


def _product(values: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted((axis % values.ndim for axis in axes), reverse=True):
        values = values.prod(axis, keepdim=keep)
    return values


def _extreme(function: Callable[..., Tensor]) -> Operator:
    def arg(call: Call) -> Tensor:
        if call.whole("select_last_index"):
            raise call.refuse("select_last_index")
        return function(call.tensor(0), dim=call.whole("axis"), keepdim=bool(call.whole("keepdims", 1)))

    return arg


def _round(values: Tensor) -> Tensor:
    return values if not values.is_floating_point() else values.round()


ARITHMETIC: dict[str, Operator] = {
    "Abs": _one(torch.abs),
    "Neg": _one(torch.neg),
    "Exp": _one(torch.exp),
    "Log": _one(torch.log),
    "Sqrt": _one(torch.sqrt),
    "Reciprocal": _one(torch.reciprocal),
    "Erf": _one(torch.erf),
    "Sin": _one(torch.sin),
    "Cos": _one(torch.cos),
    "Tanh": _one(torch.tanh),
    "Sigmoid": _one(torch.sigmoid),
    "Relu": _one(torch.relu),
    "Softplus": _one(F.softplus),
    "Softsign": _one(F.softsign),
    "Mish": _one(F.mish),
    "HardSwish": _one(F.hardswish),
    "Floor": _one(torch.floor),
    "Ceil": _one(torch.ceil),
    "Round": _one(_round),
    "Sign": _one(torch.sign),
    "Not": _one(torch.logical_not),
    "IsNaN": _one(torch.isnan),
    "Identity": _one(lambda values: values),
    "Add": _two(torch.add),
    "Sub": _two(torch.sub),
    "Mul": _two(torch.mul),
    "Div": _two(_divide),
    "Pow": _two(_power),
    "MatMul": _two(torch.matmul),
    "Equal": _two(torch.eq),
    "Greater": _two(torch.gt),
    "GreaterOrEqual": _two(torch.ge),
    "Less": _two(torch.lt),
    "LessOrEqual": _two(torch.le),
    "And": _two(torch.logical_and),
    "Or": _two(torch.logical_or),
    "Xor": _two(torch.logical_xor),
    "Sum": _several(torch.add),
    "Max": _several(torch.maximum),
    "Min": _several(torch.minimum),
    "Mean": _mean,
    "Mod": _modulo,
    "Clip": _clip,
    "Gelu": _gelu,
    "com.microsoft.Gelu": _gelu,
    "com.microsoft.QuickGelu": lambda call: (
        call.tensor(0) * torch.sigmoid(call.number("alpha", 1.702) * call.tensor(0))
    ),
    "Swish": _swish,
    "HardSigmoid": _hard_sigmoid,
    "LeakyRelu": lambda call: F.leaky_relu(call.tensor(0), call.number("alpha", 0.01)),
    "Elu": lambda call: F.elu(call.tensor(0), call.number("alpha", 1.0)),
    "Celu": lambda call: F.celu(call.tensor(0), call.number("alpha", 1.0)),
    "Selu": _selu,
    "PRelu": _prelu,
    "ThresholdedRelu": lambda call: F.threshold(call.tensor(0), call.number("alpha", 1.0), 0.0),
    "Cast": _cast,
    "CastLike": lambda call: call.tensor(0).to(call.tensor(1).dtype),
    "Where": _where,
    "Softmax": _softmax(torch.softmax),
    "LogSoftmax": _softmax(torch.log_softmax),
    "ReduceMean": _reduction(lambda values, axes, keep: values.mean(axes, keepdim=keep)),
    "ReduceSum": _reduction(lambda values, axes, keep: values.sum(axes, keepdim=keep)),
    "ReduceMax": _reduction(lambda values, axes, keep: values.amax(axes, keepdim=keep)),
    "ReduceMin": _reduction(lambda values, axes, keep: values.amin(axes, keepdim=keep)),
    "ReduceProd": _reduction(_product),
    "ReduceL1": _reduction(lambda values, axes, keep: values.abs().sum(axes, keepdim=keep)),
    "ReduceL2": _reduction(lambda values, axes, keep: torch.linalg.vector_norm(values, dim=axes, keepdim=keep)),
    "ReduceSumSquare": _reduction(lambda values, axes, keep: values.square().sum(axes, keepdim=keep)),
    "ReduceLogSum": _reduction(lambda values, axes, keep: values.sum(axes, keepdim=keep).log()),
    "ReduceLogSumExp": _reduction(lambda values, axes, keep: torch.logsumexp(values, axes, keepdim=keep)),
    "ArgMax": _extreme(torch.argmax),
    "ArgMin": _extreme(torch.argmin),
}
