"""The gradient of the explained score at the pixels, of many candidates in chunks.

Simonyan, Vedaldi and Zisserman, "Deep inside convolutional networks", ICLR 2014 workshop, arXiv 1312.6034, section 3.1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.core.errors import UnsupportedError
from snellen.methods.explanations.attributed import Attributed
from snellen.methods.explanations.score import TargetScore


def gradients_at(score: TargetScore, candidates: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Scores and their gradients in one pass: candidates (m, 3, h, w) → float32 (m,) and (m, 3, h, w).

    The caller cuts candidates into chunks. Where the score does not depend on an image, its gradient is zero.

    Raises:
        UnsupportedError: the classifier gives no gradients.
    """
    if not score.classifier.differentiable:
        raise UnsupportedError(
            f"{score.classifier.name} gives no gradients; occlusion, RISE and Partition SHAP need none"
        )
    with torch.enable_grad():
        leaves = candidates.detach().requires_grad_()
        values = score(leaves, rows)
        (gradients,) = torch.autograd.grad(values.sum(), leaves)
    return values.detach(), gradients


def gradient(score: TargetScore, images: Tensor) -> Attributed:
    """The gradient at each image: maps (n, 3, h, w), signed, in score units per unit of brightness.

    It tells how the score changes for a small change, and promises no completeness.

    Raises:
        UnsupportedError: the classifier gives no gradients.
    """
    values, maps = [torch.zeros(0)], [images.new_zeros(0, *images.shape[1:])]
    with score.classifier.counting() as spent:
        for rows in torch.arange(len(images)).split(score.chunk):
            if len(rows):
                value, slope = gradients_at(score, images[rows], rows)
                values.append(value.cpu())
                maps.append(slope)
    return Attributed.of(torch.cat(maps), torch.cat(values).double(), spent=spent())


def magnitude(maps: Tensor) -> Tensor:
    """How steep at each pixel, whatever the sign: the largest |gradient| of its channels, (n, 3, h, w) → (n, h, w)."""
    return maps.abs().amax(1)
