"""Training on mixtures of images and of their labels: of two, by weights or by pasting, or of several.

Mixup: Zhang, Cissé, Dauphin and Lopez-Paz, ICLR 2018, arXiv 1710.09412, equation 1. CutMix: Yun, Han, Oh, Chun, Choe
and Yoo, ICCV 2019, arXiv 1905.04899, section 3.1. Each image draws its own share; the published codes draw one for a
whole batch. Partners are a random permutation of the batch.

Shares are those of the label, not the area of a mask: the published method weighs labels by what was drawn, not by what
the masks then do. :func:`share_gap` measures how far the two are apart.

Saliency: the spectral residual of Hou and Zhang, "Saliency detection: A spectral residual approach", CVPR 2007: what
the logarithm of the amplitude spectrum has beyond its own local mean, back in the image. Mixing: Uddin, Monira, Shin,
Chung and Bae, "SaliencyMix: A saliency guided data augmentation strategy for better regularization", ICLR 2021, arXiv
2006.01791, section 3.2: the box of CutMix, around the most salient pixel of the image that it is taken from.
"""

from __future__ import annotations

from typing import NamedTuple

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
        images: (n, c, h, w); they give size and type.
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
        like: gives device and type.
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


#: Longest side at which saliency is computed, and the deviation of its smoothing at that side, pixels.
LONGEST_SIDE, SMOOTHING = 64, 2.5

#: Amplitudes below this share of the mean count as this share.
FAINT = 1e-3


def spectral_residual(images: Tensor) -> Tensor:
    """Saliency of each pixel: images (n, c, h, w) → (n, h, w), at least 0, with a maximum of 1.

    An image without structure is salient nowhere more than elsewhere: 1 everywhere.

    >>> image = torch.zeros(1, 3, 32, 32)
    >>> image[:, :, 20:24, 6:10] = 1.0
    >>> place = int(spectral_residual(image).argmax())
    >>> 18 <= place // 32 <= 25 and 4 <= place % 32 <= 11
    True
    """
    height, width = images.shape[2:]
    grey = images.float().mean(1, keepdim=True)
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    if scale < 1:
        small = (max(1, round(height * scale)), max(1, round(width * scale)))
        grey = F.interpolate(grey, size=small, mode="bilinear", align_corners=False, antialias=True)
    spectrum = torch.fft.fft2(grey)
    # A drawn shape has frequencies of amplitude 0, whose logarithms would outweigh all others.
    amplitude = spectrum.abs()
    logarithm = amplitude.clamp_min(FAINT * amplitude.mean((2, 3), keepdim=True) + 1e-12).log()
    # The spectrum is periodic, so is its local mean.
    residual = logarithm - F.avg_pool2d(F.pad(logarithm, (1, 1, 1, 1), mode="circular"), 3, stride=1)
    back = torch.fft.ifft2(torch.polar(residual.exp(), spectrum.angle())).abs().square()
    saliency = _smoothed(back, SMOOTHING * max(grey.shape[2:]) / LONGEST_SIDE)
    flat = grey.amax((2, 3), keepdim=True) - grey.amin((2, 3), keepdim=True) < 1e-6
    saliency = torch.where(flat, torch.ones_like(saliency), saliency)
    if scale < 1:
        saliency = F.interpolate(saliency, size=(height, width), mode="bilinear", align_corners=False)
    return (saliency / saliency.amax((2, 3), keepdim=True))[:, 0]


def _smoothed(planes: Tensor, deviation: float) -> Tensor:
    """Gaussian smoothing of (n, 1, h, w); outside, the border continues."""
    radius = max(1, round(3 * deviation))
    offsets = torch.arange(-radius, radius + 1, device=planes.device, dtype=planes.dtype)
    kernel = torch.exp(-0.5 * (offsets / max(deviation, 1e-3)) ** 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(planes, (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))


def salient_pixels(images: Tensor) -> Tensor:
    """Row and column of the most salient pixel of each image: int64 (n, 2); the middle, where none stands out."""
    saliency = spectral_residual(images)
    height, width = saliency.shape[1:]
    place = saliency.flatten(1).argmax(1)
    even = saliency.flatten(1).amin(1) == 1
    found = torch.stack([place // width, place % width], 1)
    return torch.where(even[:, None], torch.tensor([height // 2, width // 2], device=images.device), found)


def saliency_mix(class_count: int, alpha: float = 1.0, probability: float = 1.0) -> BatchTransform:
    """The most salient part of a partner pasted into each image, at the same place; labels follow the area.

    Each image draws its own share and has its own box; the published code has one for a whole batch, from the saliency
    of one image.

    >>> rng = Randomness(0).for_examples(["a", "b"])
    >>> images, targets = saliency_mix(2)(torch.rand(2, 3, 16, 16), torch.arange(2), rng)
    >>> targets.sum(1).tolist()
    [1.0, 1.0]

    Args:
        class_count: k; targets become probabilities (n, k).
        alpha: of the Beta distribution of the share that is kept, above 0.
        probability: of mixing an image at all, in [0, 1].
    """
    check_share(alpha, probability)

    def mix(images: Tensor, targets: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        partner = partners(rng).to(images.device)
        kept = rng.beta("share", alpha, alpha, like=images)
        mixes = rng.uniform("mixes", (), like=images) < probability
        boxes = boxes_around(salient_pixels(images)[partner], torch.where(mixes, kept, torch.ones_like(kept)), images)
        share = 1 - boxes.flatten(1).mean(1)
        return paste(images, images[partner], boxes), mixed_targets(targets, partner, share, class_count)

    return mix
