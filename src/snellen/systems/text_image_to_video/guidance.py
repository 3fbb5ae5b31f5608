"""Guidance with two conditions: F̂ = F(∅, ∅) + s·(F(text, image) − F(∅, ∅)), and its rivals, as weighted passes.

Z. Lin et al. 2024, arXiv 2412.07730 (STIV), joint image-text guidance: the reference knows *neither* condition. A null
image is no replacement, not a black image. Text guidance keeps the image in both passes; separate scales take three:
F(∅, ∅) + s_I·(F(∅, I) − F(∅, ∅)) + s_T·(F(T, I) − F(∅, I)). Renormalisation brings the guided prediction back to the
norm of the conditional one; the paper's text gives no formula, so F̂·‖F_c‖ / ‖F̂‖ is our reading.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from snellen.core.errors import InputError

Kind = Literal["joint", "text", "separate"]
Norm = Literal["none", "video", "frame"]


class Pass(NamedTuple):
    """One call of the network, and its weight in the sum.

    Attributes:
        text: whether it gets the text.
        image: whether it gets the given frames.
        weight: of its prediction.
    """

    text: bool
    image: bool
    weight: float


#: What the network predicts with all that is given.
CONDITIONAL = Pass(text=True, image=True, weight=1.0)


def passes(kind: Kind, scale: float, image_scale: float | None = None) -> tuple[Pass, ...]:
    """Calls whose weighted sum is the guided prediction, the conditional one first; the weights add up to 1.

    >>> passes("joint", 3.0)
    (Pass(text=True, image=True, weight=3.0), Pass(text=False, image=False, weight=-2.0))
    >>> passes("joint", 1.0)
    (Pass(text=True, image=True, weight=1.0),)

    Args:
        kind: of guidance.
        scale: s, or s_T of separate scales; 1 means none.
        image_scale: s_I of separate scales; None: as ``scale``.

    Raises:
        InputError: a negative or infinite scale, or a scale of images where there is one of both.
    """
    for number in (scale, image_scale):
        if number is not None and not (number >= 0 and math.isfinite(number)):
            raise InputError(f"a scale of guidance is a number from 0 on, where 1 means none; got {number}")
    if image_scale is not None and kind != "separate":
        raise InputError(f"an image scale goes with guidance 'separate'; got {kind!r} with {image_scale}")
    if kind == "separate":
        own = scale if image_scale is None else image_scale
        found = [Pass(True, True, scale), Pass(False, True, own - scale), Pass(False, False, 1 - own)]
    else:
        found = [Pass(True, True, scale), Pass(False, kind == "text", 1 - scale)]
    return tuple(one for number, one in enumerate(found) if number == 0 or one.weight != 0)


def guided(predictions: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The weighted sum of predictions of one shape."""
    total = torch.zeros_like(predictions[0])
    for prediction, weight in zip(predictions, weights, strict=True):
        total = total + weight * prediction
    return total


def renormalised(guided_velocity: Tensor, conditional: Tensor, norm: Norm, generated: Tensor) -> Tensor:
    """F̂·‖F_c‖ / ‖F̂‖: bring a guided prediction back to the norm of the conditional one.

    Args:
        guided_velocity: F̂, float (n, F, c, h, w).
        conditional: F_c, of the same shape.
        norm: over the whole ``video``, or each ``frame`` by itself; ``none`` changes nothing.
        generated: frames whose norm counts, bool (n, F): the network is not trained on what it predicts of given ones.
    """
    if norm == "none":
        return guided_velocity
    axes = (1, 2, 3, 4) if norm == "video" else (2, 3, 4)
    counted = generated[:, :, None, None, None].to(conditional.dtype)
    own = torch.linalg.vector_norm(guided_velocity * counted, dim=axes, keepdim=True)
    wanted = torch.linalg.vector_norm(conditional * counted, dim=axes, keepdim=True)
    factor = torch.where(own > 0, wanted / own.clamp_min(torch.finfo(own.dtype).tiny), torch.ones_like(own))
    return guided_velocity * factor
