"""The augmentation of the stochastic perceptual layer, of a strength that may fall to 0, where it is the identity.

Kupeev and Nitzany (CONN), arXiv 2310.05212, name the operations of imgaug and their ranges at strength 1. Every copy
draws its own numbers; the order of the operations is drawn once for all copies of an image. Reconstructed: crops are
cut between pixels, contrast turns about 0.5, what comes in from outside is black, and nothing is cut to [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

_Draw = Callable[[float, float], Tensor]
_Operation = Callable[[Tensor, float, _Draw, torch.Generator], Tensor]


def augment_copies(copies: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Augment copies of one image independently: (j, c, h, w) → (j, c, h, w).

    Args:
        copies: values about [0, 1], not necessarily alike.
        strength: a, 0 for the identity; 1 in the first step of the paper's layer.
        generator: on the CPU; the draws do not depend on the device.
    """
    if strength <= 0:
        return copies

    def draw(low: float, high: float) -> Tensor:
        return (low + (high - low) * torch.rand(len(copies), generator=generator)).to(copies)

    for number in torch.randperm(len(_OPERATIONS), generator=generator).tolist():
        copies = _OPERATIONS[number](copies, strength, draw, generator)
    return copies


def _crop(copies: Tensor, a: float, draw: _Draw, _: torch.Generator) -> Tensor:
    """Cut 0 to 4 a % off each side, and enlarge what is left."""
    left, right, top, bottom = (draw(0.0, 0.04 * a) for _ in range(4))
    matrix = copies.new_zeros(len(copies), 2, 3)
    matrix[:, 0, 0], matrix[:, 0, 2] = 1 - left - right, left - right
    matrix[:, 1, 1], matrix[:, 1, 2] = 1 - top - bottom, top - bottom
    return _sampled(copies, matrix)


def _blur(copies: Tensor, a: float, draw: _Draw, _: torch.Generator) -> Tensor:
    """Blur every second copy, by a Gaussian of up to 0.6 a pixels."""
    chosen, deviation = draw(0.0, 1.0) < 0.5, draw(0.0, 0.6 * a)
    for side, transposed in ((copies.shape[2], False), (copies.shape[3], True)):
        places = torch.arange(side, device=copies.device, dtype=copies.dtype)
        squares = (places[:, None] - places) ** 2
        weights = torch.exp(-squares / (2 * deviation.clamp_min(1e-3)[:, None, None] ** 2))
        weights = weights / weights.sum(2, keepdim=True)
        weights = torch.where(chosen[:, None, None], weights, torch.eye(side).to(copies))[:, None]
        copies = copies @ weights.transpose(2, 3) if transposed else weights @ copies
    return copies


def _contrast(copies: Tensor, a: float, draw: _Draw, _: torch.Generator) -> Tensor:
    factor = draw(1 - 0.25 * a, 1 + 0.5 * a)[:, None, None, None]
    return 0.5 + factor * (copies - 0.5)


def _noise(copies: Tensor, a: float, draw: _Draw, generator: torch.Generator) -> Tensor:
    deviation = draw(0.0, 0.05 * a)[:, None, None, None]
    return copies + deviation * torch.randn(copies.shape, generator=generator).to(copies)


def _multiply(copies: Tensor, a: float, draw: _Draw, _: torch.Generator) -> Tensor:
    return copies * draw(1 - 0.2 * a, 1 + 0.2 * a)[:, None, None, None]


def _affine(copies: Tensor, a: float, draw: _Draw, _: torch.Generator) -> Tensor:
    """Scale each axis by up to 0.3 a, move by up to 0.1 a of the size, turn by up to 10 a°, shear by up to 6 a°."""
    across, along = draw(1 - 0.3 * a, 1 + 0.3 * a), draw(1 - 0.3 * a, 1 + 0.3 * a)
    right, down = draw(-0.1 * a, 0.1 * a), draw(-0.1 * a, 0.1 * a)
    turn, shear = draw(-10 * a, 10 * a) * (math.pi / 180), draw(-6 * a, 6 * a) * (math.pi / 180)
    forward = torch.stack(
        [
            torch.stack([across * turn.cos(), -along * (turn + shear).sin()], 1),
            torch.stack([across * turn.sin(), along * (turn + shear).cos()], 1),
        ],
        1,
    )
    back = torch.linalg.inv(forward)
    moved = -back @ torch.stack([2 * right, 2 * down], 1)[:, :, None]  # of a grid that is 2 wide
    return _sampled(copies, torch.cat([back, moved], 2))


_OPERATIONS: tuple[_Operation, ...] = (_crop, _blur, _contrast, _noise, _multiply, _affine)


def _sampled(copies: Tensor, matrix: Tensor) -> Tensor:
    """Read every pixel where the matrix (j, 2, 3) leads, in coordinates from −1 to 1."""
    grid = F.affine_grid(matrix, list(copies.shape), align_corners=False)
    return F.grid_sample(copies, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
