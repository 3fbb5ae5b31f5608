"""Operators of ONNX that are layers of networks: convolution, pooling, normalisation, attention, resizing."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.models.classifiers.onnx_graph.arithmetic import ARITHMETIC
from snellen.models.classifiers.onnx_graph.arranging import ARRANGING
from snellen.models.classifiers.onnx_graph.call import Call, Operator

_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def window(call: Call, size: tuple[int, ...], kernel: list[int]) -> tuple[list[int], list[int], list[int], list[int]]:
    """Strides, dilations, and padding at the begin and the end of each axis, for images of ``size``."""
    axes = len(kernel)
    strides = call.list_of("strides") or [1] * axes
    dilations = call.list_of("dilations") or [1] * axes
    padding = call.text("auto_pad", "NOTSET")
    if padding in ("NOTSET", "VALID"):
        pads = (call.list_of("pads") if padding == "NOTSET" else None) or [0] * (2 * axes)
        return strides, dilations, pads[:axes], pads[axes:]
    begins, ends = [], []
    for length, kernel_size, stride, dilation in zip(size, kernel, strides, dilations, strict=True):
        needed = max((-(-length // stride) - 1) * stride + dilation * (kernel_size - 1) + 1 - length, 0)
        small, large = needed // 2, needed - needed // 2
        begins.append(large if padding == "SAME_LOWER" else small)
        ends.append(small if padding == "SAME_LOWER" else large)
    return strides, dilations, begins, ends


def padded(values: Tensor, begins: list[int], ends: list[int], value: float = 0.0) -> Tensor:
    """Pad the last axes."""
    if not any(begins) and not any(ends):
        return values
    return F.pad(values, [side for pair in zip(begins[::-1], ends[::-1], strict=True) for side in pair], value=value)


def _convolution(call: Call) -> Tensor:
    values, weight, bias = call.tensor(0), call.tensor(1), call.optional(2)
    kernel = list(weight.shape[2:])
    strides, dilations, begins, ends = window(call, values.shape[2:], kernel)
    if begins == ends:
        padding, fed = begins, values
    else:
        padding, fed = [0] * len(begins), padded(values, begins, ends)
    convolve = _CONVOLUTIONS[len(kernel)]
    return convolve(fed, weight, bias, strides, padding, dilations, call.whole("group", 1))


def _transposed_convolution(call: Call) -> Tensor:
    values, weight, bias = call.tensor(0), call.tensor(1), call.optional(2)
    kernel = list(weight.shape[2:])
    strides, dilations, begins, ends = window(call, values.shape[2:], kernel)
    if (
        begins != ends
        or len(kernel) != 2
        or call.list_of("output_shape")
        or call.text("auto_pad", "NOTSET") != "NOTSET"
    ):
        raise call.refuse("padding that differs at the two ends, or an output_shape")
    extra = call.list_of("output_padding") or [0] * len(kernel)
    return F.conv_transpose2d(values, weight, bias, strides, begins, extra, call.whole("group", 1), dilations)


def _gemm(call: Call) -> Tensor:
    first, second, third = call.tensor(0), call.tensor(1), call.optional(2)
    product = (first.T if call.whole("transA") else first) @ (second.T if call.whole("transB") else second)
    product = call.number("alpha", 1.0) * product
    return product if third is None else product + call.number("beta", 1.0) * third


def _max_pool(call: Call) -> Tensor:
    values, kernel = call.tensor(0), call.list_of("kernel_shape") or []
    if call.outputs > 1 or len(kernel) != 2:
        raise call.refuse("indices as an output, or another number of axes than 2")
    strides, dilations, begins, ends = window(call, values.shape[2:], kernel)
    ceil = bool(call.whole("ceil_mode"))
    if begins == ends and all(2 * pad <= size for pad, size in zip(begins, kernel, strict=True)):
        return F.max_pool2d(values, kernel, strides, begins, dilations, ceil)
    fed = padded(values, begins, ends, -math.inf)
    return F.max_pool2d(fed, kernel, strides, 0, dilations, ceil)


def _average_pool(call: Call) -> Tensor:
    values, kernel = call.tensor(0), call.list_of("kernel_shape") or []
    strides, dilations, begins, ends = window(call, values.shape[2:], kernel)
    if len(kernel) != 2 or set(dilations) != {1}:
        raise call.refuse("dilations, or another number of axes than 2")
    ceil, counted = bool(call.whole("ceil_mode")), bool(call.whole("count_include_pad"))
    if begins == ends and all(2 * pad <= size for pad, size in zip(begins, kernel, strict=True)):
        return F.avg_pool2d(values, kernel, strides, begins, ceil, counted)
    pooled = F.avg_pool2d(padded(values, begins, ends), kernel, strides, 0, ceil)
    if counted:
        return pooled
    inside = padded(torch.ones_like(values[:1, :1]), begins, ends)
    return pooled / F.avg_pool2d(inside, kernel, strides, 0, ceil)


def _global(kind: str) -> Operator:
    def pool(call: Call) -> Tensor:
        values = call.tensor(0)
        axes = list(range(2, values.ndim))
        return values.mean(axes, keepdim=True) if kind == "mean" else values.amax(axes, keepdim=True)

    return pool


def _batch_norm(call: Call) -> Tensor:
    if call.whole("training_mode"):
        raise call.refuse("training_mode, in which images of a batch change each other's scores")
    values, scale, bias, mean, variance = (call.tensor(place) for place in range(5))
    return F.batch_norm(values, mean, variance, scale, bias, False, 0.0, call.number("epsilon", 1e-5))


def _layer_norm(call: Call) -> Tensor:
    values, scale = call.tensor(0), call.tensor(1)
    if call.outputs > 1:
        raise call.refuse("mean and deviation as outputs")
    axis = call.whole("axis", -1) % values.ndim
    normed = F.layer_norm(values, values.shape[axis:], None, None, call.number("epsilon", 1e-5)) * scale
    bias = call.optional(2)
    return normed if bias is None else normed + bias


def _rms_norm(call: Call) -> Tensor:
    values = call.tensor(0)
    axis = call.whole("axis", -1) % values.ndim
    return F.rms_norm(values, values.shape[axis:], None, call.number("epsilon", 1e-5)) * call.tensor(1)


def _instance_norm(call: Call) -> Tensor:
    return F.instance_norm(call.tensor(0), weight=call.tensor(1), bias=call.tensor(2), eps=call.number("epsilon", 1e-5))


def _group_norm(call: Call) -> Tensor:
    values, scale, bias = call.tensor(0), call.tensor(1), call.tensor(2)
    groups = call.whole("num_groups", 1)
    if call.opset < 21:  # scale and bias were those of groups
        each = values.shape[1] // groups
        scale, bias = scale.repeat_interleave(each), bias.repeat_interleave(each)
    return F.group_norm(values, groups, scale, bias, call.number("epsilon", 1e-5))


def _lp_norm(call: Call) -> Tensor:
    values, axis = call.tensor(0), call.whole("axis", -1)
    length = torch.linalg.vector_norm(values, ord=call.whole("p", 2), dim=axis, keepdim=True)
    return torch.where(length == 0, torch.zeros_like(values), values / length)


def _local_response(call: Call) -> Tensor:
    alpha, beta, bias = call.number("alpha", 1e-4), call.number("beta", 0.75), call.number("bias", 1.0)
    return F.local_response_norm(call.tensor(0), call.whole("size", 1), alpha, beta, bias)


#: Attributes of attention that are built, or that say how products are given out and rounded.
_ATTENTION = frozenset(
    ["scale", "is_causal", "q_num_heads", "kv_num_heads", "softcap", "qk_matmul_output_mode", "softmax_precision"]
)


def _attention(call: Call) -> Tensor:
    """Scaled dot products of four axes (n, heads, t, d), or of three, which are split into heads."""
    query, key, value, mask = call.tensor(0), call.tensor(1), call.tensor(2), call.optional(3)
    if call.outputs > 1 or len(call.inputs) > 4 or call.number("softcap", 0.0) != 0.0:
        raise call.refuse("a cache of keys and values, or a softcap")
    unknown = set(call.attributes) - _ATTENTION
    if unknown or call.whole("softmax_precision", 1) != 1:  # 1 is float32
        raise call.refuse(f"the attributes {', '.join(sorted(unknown)) or 'softmax_precision'}")
    three = query.ndim == 3
    if three:
        heads, others = call.whole("q_num_heads", 1), call.whole("kv_num_heads", 1)
        query = query.unflatten(2, (heads, -1)).transpose(1, 2)
        key, value = (one.unflatten(2, (others, -1)).transpose(1, 2) for one in (key, value))
    times = query.shape[1] // key.shape[1]
    if times > 1:
        key, value = (one.repeat_interleave(times, 1) for one in (key, value))
    scale = call.attributes.get("scale")
    # Written out: the second derivatives of the fused form are not there on every device.
    products = query @ key.transpose(-1, -2) * (float(scale) if isinstance(scale, float) else query.shape[-1] ** -0.5)
    if call.whole("is_causal"):
        allowed = torch.ones(products.shape[-2:], dtype=torch.bool, device=products.device).tril()
        products = products.masked_fill(~allowed, -math.inf)
    if mask is not None:
        products = products.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else products + mask
    mixed = products.softmax(-1) @ value
    return mixed.transpose(1, 2).flatten(2) if three else mixed


def _resize(call: Call) -> Tensor:
    values = call.tensor(0)
    old = call.kind == "Upsample" or call.opset < 11
    scales = call.listed(1 if old else 2) or []
    sizes = None if old else call.numbers(3, "sizes")
    if call.list_of("axes") not in (None, [2, 3]) or values.ndim != 4:
        raise call.refuse("other axes than height and width")
    if not sizes and (not scales or any(scale != 1 for scale in scales[:-2])):
        raise call.refuse("scales of other axes than height and width")
    old_size = values.shape[2:]
    exact = sizes[-2:] if sizes else [size * scale for size, scale in zip(old_size, scales[-2:], strict=True)]
    target = [math.floor(one) for one in exact]
    # Coordinates follow the scales where these are given, also where the size was rounded.
    fitted: dict[str, Any] = {"size": target} if sizes else {"scale_factor": scales[-2:]}
    mode = call.text("mode", "nearest")
    placed = call.text("coordinate_transformation_mode", "asymmetric" if old else "half_pixel")
    rounded = call.text("nearest_mode", "floor" if old else "round_prefer_floor")
    whole = all(new % size == 0 for new, size in zip(target, old_size, strict=True))
    by_floor = placed == "asymmetric" and rounded == "floor"
    if mode == "nearest" and (by_floor or (placed == "half_pixel" and rounded == "round_prefer_floor" and whole)):
        return F.interpolate(values, **fitted, mode="nearest")
    corners = placed == "align_corners"
    usual = placed == "half_pixel" or (placed == "pytorch_half_pixel" and 1 not in target)
    if not usual and not (corners and target == exact):
        raise call.refuse(f"coordinates {placed}")
    if call.whole("antialias") or call.whole("exclude_outside"):
        raise call.refuse("antialias or exclude_outside")
    if mode == "linear":
        return F.interpolate(values, **fitted, mode="bilinear", align_corners=corners)
    if mode == "cubic" and call.number("cubic_coeff_a", -0.75) == -0.75:
        return F.interpolate(values, **fitted, mode="bicubic", align_corners=corners)
    raise call.refuse(f"mode {mode} and coordinates {placed}")


def _one_hot(call: Call) -> Tensor:
    indices, depth, values = call.tensor(0), int(call.tensor(1)), call.tensor(2)
    axis = call.whole("axis", -1)
    hot = F.one_hot(torch.where(indices < 0, indices + depth, indices).long(), depth).bool()
    return torch.where(hot.movedim(-1, axis), values[1], values[0])


OPERATORS: dict[str, Operator] = {
    **ARITHMETIC,
    **ARRANGING,
    "Conv": _convolution,
    "ConvTranspose": _transposed_convolution,
    "Gemm": _gemm,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global("mean"),
    "GlobalMaxPool": _global("max"),
    "BatchNormalization": _batch_norm,
    "LayerNormalization": _layer_norm,
    "RMSNormalization": _rms_norm,
    "InstanceNormalization": _instance_norm,
    "GroupNormalization": _group_norm,
    "LpNormalization": _lp_norm,
    "LRN": _local_response,
    "Attention": _attention,
    "Resize": _resize,
    "Upsample": _resize,
    "OneHot": _one_hot,
}
