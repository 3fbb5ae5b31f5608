"""Training on mixtures of two images and of their labels.

Mixup: Zhang, Cissé, Dauphin and Lopez-Paz, ICLR 2018, arXiv 1710.09412, equation 1. CutMix: Yun, Han, Oh, Chun, Choe
and Yoo, ICCV 2019, arXiv 1905.04899, section 3.1. Each image draws its own share; the published codes draw one for a
whole batch. Partners are a random permutation of the batch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.training.transforms import BatchTransform


def mixup(class_count: int, alpha: float = 0.2) -> BatchTransform:
    """λ · image + (1 − λ) · partner, with λ from Beta(alpha, alpha) and labels mixed alike.

    Args:
        class_count: k; targets become probabilities (n, k).
        alpha: above 0; larger mixes more evenly.

    >>> rng = Randomness(0).for_examples(["a", "b"])
    >>> images, targets = mixup(2, alpha=1.0)(torch.rand(2, 3, 4, 4), torch.tensor([0, 1]), rng)
    >>> targets.sum(1).tolist()
    [1.0, 1.0]
    """
    check_share(alpha)

    def mix(images: Tensor, targets: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        partner = partners(rng).to(images.device)
        share = rng.beta("share", alpha, alpha, like=images)
        own = share[:, None, None, None]
        return own * images + (1 - own) * images[partner], mixed_targets(targets, partner, share, class_count)

    return mix


def cutmix(class_count: int, alpha: float = 1.0, probability: float = 1.0) -> BatchTransform:
    """A box of a partner pasted into each image; labels follow the area that was pasted after clipping.

    Args:
        class_count: k; targets become probabilities (n, k).
        alpha: of the Beta distribution of the share that is kept.
        probability: of mixing an image at all, in [0, 1].

    >>> rng = Randomness(0).for_examples(["a", "b"])
    >>> images, targets = cutmix(2)(torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 8, 8), torch.arange(2), rng)
    >>> torch.allclose(images.mean((1, 2, 3)), targets[:, 1])
    True
    """
    check_share(alpha, probability)

    def mix(images: Tensor, targets: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        partner = partners(rng).to(images.device)
        boxes = pasted_boxes(rng, images, alpha, probability)
        return paste(images, images[partner], boxes), mixed_targets(
            targets, partner, 1 - boxes.flatten(1).mean(1), class_count
        )

    return mix


def partners(rng: Randomness) -> Tensor:
    """A random permutation of the examples that ``rng`` is bound to: int64 (n,), on the CPU."""
    return rng.uniform("partner", ()).argsort()


def pasted_boxes(rng: Randomness, images: Tensor, alpha: float, probability: float) -> Tensor:
    """Draw where another image is pasted into each: (n, 1, h, w), 1 inside the box, 0 outside.

    Centre uniform, sides √(1 − λ) of the image's, cut off at its edges (section 3.1 and appendix A of CutMix), so that
    the mean of a mask is the share of the area that is really covered.
    """
    height, width = images.shape[2:]
    kept = rng.beta("share", alpha, alpha, like=images)
    drawn = rng.uniform("place", (3,), like=images)
    kept = torch.where(drawn[:, 2] < probability, kept, torch.ones_like(kept))
    centres = (drawn[:, :2] * torch.tensor([height, width], device=images.device)).floor()
    return boxes_around(centres, kept, images)


def boxes_around(centres: Tensor, kept: Tensor, images: Tensor) -> Tensor:
    """Boxes of the shape of images, cut off at their edges: (n, 1, h, w), 1 inside, 0 outside.

    Args:
        centres: row and column of each box, whole numbers (n, 2).
        kept: share of each image that a box of full size leaves, (n,), in [0, 1]; its sides are √(1 − kept) of theirs.
        images: (n, c, h, w); they tell size and type.
    """
    sides = (1 - kept).clamp(0, 1).sqrt()

    def inside(length: int, middle: Tensor) -> Tensor:
        half = (sides * length).floor() // 2
        at = torch.arange(length, device=images.device)
        return (at >= (middle - half)[:, None]) & (at < (middle + half)[:, None])

    rows, columns = inside(images.shape[2], centres[:, 0]), inside(images.shape[3], centres[:, 1])
    return (rows[:, None, :, None] & columns[:, None, None, :]).to(images.dtype)


def paste(images: Tensor, others: Tensor, boxes: Tensor) -> Tensor:
    """Replace each image by another inside its box: (n, c, h, w)."""
    return torch.where(boxes.bool(), others, images)


def mixed_targets(targets: Tensor, partner: Tensor, share: Tensor, class_count: int) -> Tensor:
    """Mix labels: share · own + (1 − share) · partner's.

    Args:
        targets: class indices (n,), or probabilities (n, k).
        partner: int64 (n,), positions in the batch.
        share: of the own label, (n,), in [0, 1].
        class_count: k.

    Returns:
        Probabilities (n, k), in the type of ``share``.

    Raises:
        InputError: targets that are neither.
    """
    if targets.ndim == 1 and not targets.is_floating_point():
        targets = F.one_hot(targets, class_count)
    if targets.ndim != 2 or targets.shape[1] != class_count:
        raise InputError(
            f"mixing takes class indices (n,) or probabilities (n, {class_count}), got {targets.dtype} "
            f"{tuple(targets.shape)}"
        )
    own = targets.to(share.dtype)
    return share[:, None] * own + (1 - share)[:, None] * own[partner]


def check_share(alpha: float, probability: float = 1.0) -> None:
    """Refuse numbers that no share can be drawn by.

    Raises:
        InputError: alpha is not above 0 and finite; the probability of mixing is outside [0, 1].
    """
    if not 0 < alpha < float("inf"):
        raise InputError(f"alpha is a number above 0, got {alpha}")
    if not 0 <= probability <= 1:
        raise InputError(f"a probability lies in [0, 1], got {probability}")
