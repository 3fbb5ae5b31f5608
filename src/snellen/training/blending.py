"""Blends of several images: who is blended with whom, with which shares, and the label of the blend.

Shares are those of the label, not the area of a mask: the published method weighs labels by what was drawn, whatever
the masks then do. :func:`share_gap` tells how far the two are apart.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.training.mixing import partners


class Draw(NamedTuple):
    """Which images are blended.

    Args:
        parts: int64 (p, n): row i holds the i-th part of each of n blends, as a position in the batch.
        shares: (n, p), at least 0, with sum 1: of each part in the label.
    """

    parts: Tensor
    shares: Tensor


def draw_blend(rng: Randomness, count: int, *, parts: int, alpha: float, like: Tensor, one_share: bool = False) -> Draw:
    """Draw partners and shares.

    Two parts: every image with a partner from a permutation of the batch, λ from Beta(alpha, alpha) and 1 − λ. More: as
    many permutations as parts, and as many draws from Beta(alpha, alpha), divided by their sum.

    Args:
        rng: bound to the examples of the batch.
        count: examples in the batch (n).
        parts: images in a blend (p), 2 to n.
        alpha: above 0.
        like: tells device and type.
        one_share: one draw for all blends of the batch, as published; otherwise each blend draws its own.

    Raises:
        InputError: fewer examples than parts.
    """
    if not 2 <= parts <= count:
        raise InputError(
            f"a blend of {parts} images needs a batch of at least {max(parts, 2)}, and this one has {count}; raise "
            f"plan.batch_size, or leave out a last, smaller batch with plan.drop_last"
        )
    source = rng.for_examples(["batch"]) if one_share else rng
    first = source.beta("share 0", alpha, alpha, like=like)
    if parts == 2:
        drawn = torch.stack([first, 1 - first], 1)
        rows = [torch.arange(count), partners(rng)]
    else:
        more = [source.beta(f"share {number}", alpha, alpha, like=like) for number in range(1, parts)]
        # All shares may round to 0 where alpha is small: even shares then.
        drawn = torch.stack([first, *more], 1).clamp_min(torch.finfo(torch.float32).tiny)
        rows = [partners(rng.child("part", number)) for number in range(parts)]
    shares = (drawn / drawn.sum(1, keepdim=True)).to(like.dtype).expand(count, parts)
    return Draw(torch.stack(rows).to(like.device), shares)


def plain_where_nearly_whole(masks: Tensor, shares: Tensor, margin: float, *, parity: bool = False) -> Tensor:
    """Put constant shares in place of masks where one part has nearly all of the label.

    Args:
        masks: (n, p, h, w).
        shares: (n, p).
        margin: a blend counts where its largest share is at least 1 − margin. For two parts this is the published test,
            λ ≤ margin or λ ≥ 1 − margin.
        parity: test the first share alone, for any number of parts, as the published code does.
    """
    if not margin:
        return masks
    first = shares[:, 0]
    plain = (first <= margin) | (first >= 1 - margin) if parity else shares.amax(1) >= 1 - margin
    return torch.where(plain[:, None, None, None], shares[:, :, None, None].to(masks.dtype), masks)


def blend_images(images: Tensor, parts: Tensor, masks: Tensor) -> Tensor:
    """Σ_i M_i · x_i: images (n, c, h, w), parts (p, n), masks (n, p, h, w) or shares (n, p) → (n, c, h, w).

    >>> images = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 2, 2)
    >>> blend_images(images, torch.tensor([[0, 1], [1, 0]]), torch.tensor([[0.75, 0.25], [1.0, 0.0]])).mean((1, 2, 3))
    tensor([0.2500, 1.0000])
    """
    weights = masks if masks.ndim == 4 else masks[:, :, None, None]
    blended = torch.zeros_like(images)
    for number, part in enumerate(parts):
        blended = blended + weights[:, number, None].to(images.dtype) * images[part]
    return blended


def blend_targets(targets: Tensor, draw: Draw, class_count: int) -> Tensor:
    """Labels weighted by shares: class indices (n,) or probabilities (n, k) → probabilities (n, k).

    Cross-entropy is linear in its target, so cross-entropy of this one is Σ_i λ_i CE(p, y_i).
    """
    own = F.one_hot(targets, class_count) if targets.ndim == 1 else targets
    return torch.einsum("pnk,np->nk", own.to(draw.shares.dtype)[draw.parts], draw.shares)


def share_gap(masks: Tensor, shares: Tensor) -> Tensor:
    """How far labels are from what is seen: mean over the parts of |mean of M_i − λ_i|, (n,), in [0, 1]."""
    return (masks.mean((2, 3)) - shares).abs().mean(1)
