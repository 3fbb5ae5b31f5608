"""Operators of ONNX that arrange numbers: shapes, slices, joining, choosing."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.core.errors import UnsupportedError
from snellen.models.classifiers.onnx_graph.call import Call, Operator

#: Most numbers that a constant made by the graph may have: 1 GiB of float32.
MOST = 2**28


def _shape(call: Call) -> Tensor:
    shape = call.tensor(0).shape
    begin, end = call.whole("start"), call.attributes.get("end")
    return torch.tensor(shape[begin : end if isinstance(end, int) else len(shape)], dtype=torch.int64)


def _reshape(call: Call) -> Tensor:
    values, target = call.tensor(0), call.numbers(1, "shape") or []
    if not call.whole("allowzero"):
        target = [values.shape[place] if size == 0 else size for place, size in enumerate(target)]
    return values.reshape(target)


def _flatten(call: Call) -> Tensor:
    values = call.tensor(0)
    axis = call.whole("axis", 1)
    axis = axis + values.ndim if axis < 0 else axis
    return values.reshape(math.prod(values.shape[:axis]), -1)


def _transpose(call: Call) -> Tensor:
    values = call.tensor(0)
    return values.permute(call.list_of("perm") or list(range(values.ndim))[::-1])


def _squeeze(call: Call) -> Tensor:
    values, axes = call.tensor(0), call.numbers(1, "axes")
    return values.squeeze() if axes is None else values.squeeze(tuple(axes))


def _unsqueeze(call: Call) -> Tensor:
    values, axes = call.tensor(0), call.numbers(1, "axes") or []
    ndim = values.ndim + len(axes)
    for axis in sorted(axis % ndim for axis in axes):
        values = values.unsqueeze(axis)
    return values


def _expand(call: Call) -> Tensor:
    values, target = call.tensor(0), call.numbers(1, "shape") or []
    shape = torch.broadcast_shapes(values.shape, target)  # ONNX lets the target have 1 where the values have more
    _limit(math.prod(shape), call)
    return values.expand(shape)


def _tile(call: Call) -> Tensor:
    times = call.numbers(1, "repeats") or []
    _limit(call.tensor(0).numel() * math.prod(times), call)
    return call.tensor(0).repeat(times)


def _limit(numbers: int, call: Call) -> None:
    if numbers > MOST:
        raise call.refuse(f"{numbers} numbers as its output, more than {MOST}")


def _concat(call: Call) -> Tensor:
    return torch.cat(call.tensors(), call.whole("axis"))


def _split(call: Call) -> tuple[Tensor, ...]:
    values, axis, sizes = call.tensor(0), call.whole("axis"), call.numbers(1, "split")
    if sizes is None:
        return values.split(-(-values.shape[axis] // call.whole("num_outputs", call.outputs)), axis)
    return values.split(sizes, axis)


def _slice(call: Call) -> Tensor:
    values = call.tensor(0)
    starts, ends = call.numbers(1, "starts") or [], call.numbers(2, "ends") or []
    axes = call.numbers(3, "axes") or list(range(len(starts)))
    steps = call.numbers(4, "steps") or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        places = range(values.shape[axis])[start:end:step]
        if step == 1:
            values = values.narrow(axis, places.start, len(places))
        elif step > 1:
            index: list[slice] = [slice(None)] * values.ndim
            index[axis] = slice(places.start, places.stop, step)
            values = values[tuple(index)]
        else:
            values = values.index_select(axis, torch.tensor(list(places), device=values.device))
    return values


def _gather(call: Call) -> Tensor:
    values, indices = call.tensors()
    axis = call.whole("axis") % values.ndim
    size = values.shape[axis]
    if indices.ndim == 0:
        return values.select(axis, int(indices))
    places = torch.where(indices < 0, indices + size, indices).flatten()
    picked = values.index_select(axis, places)
    return picked.reshape(*values.shape[:axis], *indices.shape, *values.shape[axis + 1 :])


def _gather_elements(call: Call) -> Tensor:
    values, indices = call.tensors()
    axis = call.whole("axis") % values.ndim
    return values.gather(axis, torch.where(indices < 0, indices + values.shape[axis], indices))


def _gather_nd(call: Call) -> Tensor:
    values, indices = call.tensors()
    if call.whole("batch_dims"):
        raise call.refuse("batch_dims")
    return values[tuple(indices.unbind(-1))]


def _scatter_nd(call: Call) -> Tensor:
    values, indices, updates = call.tensors()
    if call.text("reduction", "none") != "none":
        raise call.refuse("a reduction")
    return values.index_put(tuple(indices.unbind(-1)), updates)


def _scatter_elements(call: Call) -> Tensor:
    values, indices, updates = call.tensors()
    if call.text("reduction", "none") != "none":
        raise call.refuse("a reduction")
    axis = call.whole("axis") % values.ndim
    return values.scatter(axis, torch.where(indices < 0, indices + values.shape[axis], indices), updates)


def _pad(call: Call) -> Tensor:
    values, pads = call.tensor(0), call.numbers(1, "pads") or []
    mode, fill = call.text("mode", "constant"), call.optional(2)
    value = call.number("value", 0.0) if fill is None else fill.item()
    axes = call.numbers(3, "axes") or list(range(len(pads) // 2))
    sides = dict(zip([axis % values.ndim for axis in axes], zip(pads, pads[len(axes) :], strict=False), strict=True))
    if mode == "constant":
        ordered = [size for axis in reversed(range(values.ndim)) for size in sides.get(axis, (0, 0))]
        return F.pad(values, ordered, value=value)
    torch_mode = {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}[mode]
    if any(sum(size) and axis < 2 for axis, size in sides.items()) or values.ndim != 4:
        raise call.refuse(f"mode {mode} along other axes than those of the image")
    return F.pad(values, [*sides.get(3, (0, 0)), *sides.get(2, (0, 0))], mode=torch_mode)


def _constant_of_shape(call: Call) -> Tensor:
    shape = call.numbers(0, "") or []
    _limit(math.prod(shape), call)
    value = call.attributes.get("value")
    filled = value if isinstance(value, Tensor) else torch.zeros(1)
    return filled.reshape(()).expand(shape).clone()


def _constant(call: Call) -> Tensor:
    for name, kind in (("value_int", torch.int64), ("value_ints", torch.int64)):
        if name in call.attributes:
            return torch.tensor(call.attributes[name], dtype=kind)
    for name in ("value_float", "value_floats"):
        if name in call.attributes:
            return torch.tensor(call.attributes[name], dtype=torch.float32)
    value = call.attributes.get("value")
    if not isinstance(value, Tensor):
        raise call.refuse(f"the attributes {', '.join(call.attributes)}")
    return value


def _range(call: Call) -> Tensor:
    start, limit, delta = (one.item() for one in call.tensors())
    _limit(int(abs(limit - start) / max(abs(delta), 1e-12)), call)
    return torch.arange(start, limit, delta, dtype=call.tensor(0).dtype)


def _triangle(call: Call) -> Tensor:
    diagonal = call.optional(1)
    offset = 0 if diagonal is None else int(diagonal)
    return call.tensor(0).triu(offset) if call.whole("upper", 1) else call.tensor(0).tril(offset)


def _cumulative(call: Call) -> Tensor:
    if call.whole("exclusive") or call.whole("reverse"):
        raise call.refuse("exclusive or reverse")
    return call.tensor(0).cumsum(int(call.tensor(1)))


def _top_k(call: Call) -> tuple[Tensor, ...]:
    found = call.tensor(0).topk(int(call.tensor(1)), call.whole("axis", -1), largest=bool(call.whole("largest", 1)))
    return found.values, found.indices


def _einsum(call: Call) -> Tensor:
    return torch.einsum(call.text("equation", ""), *call.tensors())


def _depth_to_space(call: Call) -> Tensor:
    size, values = call.whole("blocksize", 1), call.tensor(0)
    if call.text("mode", "DCR") == "CRD":
        return F.pixel_shuffle(values, size)
    n, c, h, w = values.shape
    parts = values.reshape(n, size, size, c // size**2, h, w)
    return parts.permute(0, 3, 4, 1, 5, 2).reshape(n, c // size**2, h * size, w * size)


def _space_to_depth(call: Call) -> Tensor:
    size, values = call.whole("blocksize", 1), call.tensor(0)
    n, c, h, w = values.shape
    if call.text("mode", "DCR") == "CRD":
        return F.pixel_unshuffle(values, size)
    parts = values.reshape(n, c, h // size, size, w // size, size)
    return parts.permute(0, 3, 5, 1, 2, 4).reshape(n, c * size**2, h // size, w // size)


def _dropout(call: Call) -> Tensor | tuple[Tensor, ...]:
    training = call.optional(2)
    if training is not None and bool(training):
        raise UnsupportedError("operator Dropout in training mode, which is random")
    values = call.tensor(0)
    return values if call.outputs == 1 else (values, torch.ones_like(values, dtype=torch.bool))


ARRANGING: dict[str, Operator] = {
    "Shape": _shape,
    "Size": lambda call: torch.tensor(call.tensor(0).numel()),
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Expand": _expand,
    "Tile": _tile,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "ScatterND": _scatter_nd,
    "ScatterElements": _scatter_elements,
    "Pad": _pad,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "Trilu": _triangle,
    "CumSum": _cumulative,
    "TopK": _top_k,
    "Einsum": _einsum,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "Dropout": _dropout,
}
