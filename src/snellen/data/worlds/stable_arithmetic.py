"""Arithmetic that gives the same bits wherever in memory a number lies.

torch computes most of a tensor with vector instructions and its ends one by one. For single operations of the IEEE
standard (sums, products, quotients, square roots) both agree to the bit. They need not where products are added without
rounding in between (``lerp``, ``addcmul``, ``add`` with ``alpha``), nor for ``hypot``, sines, exponentials and
logarithms. What is drawn in batches must not depend on the batch, so these are taken in double precision and rounded,
or written out.
"""

from __future__ import annotations

import torch
from torch import Tensor


def length(x: Tensor, y: Tensor) -> Tensor:
    """Length of vectors, of the shape of ``x`` and ``y`` together.

    >>> length(torch.tensor(3.0), torch.tensor(4.0)).item()
    5.0
    """
    return (x * x + y * y).sqrt_()


def blend(start: Tensor | float, end: Tensor | float, share: Tensor) -> Tensor:
    """What lies a share of the way from start to end: start + (end − start) · share.

    >>> blend(1.0, 3.0, torch.tensor(0.25)).item()
    1.5
    """
    return start + (end - start) * share


def sine(angle: Tensor) -> Tensor:
    """Sine of angles in radians, rounded to the precision of the input."""
    return angle.double().sin_().to(angle.dtype)


def cosine(angle: Tensor) -> Tensor:
    """Cosine of angles in radians, rounded to the precision of the input."""
    return angle.double().cos_().to(angle.dtype)


def exponential(value: Tensor) -> Tensor:
    """E to the power of values, rounded to the precision of the input."""
    return value.double().exp_().to(value.dtype)


def logarithm(value: Tensor) -> Tensor:
    """Natural logarithm, rounded to the precision of the input."""
    return value.double().log_().to(value.dtype)


def error_function(value: Tensor) -> Tensor:
    """Gauss's error function, rounded to the precision of the input."""
    return torch.erf(value.double()).to(value.dtype)
