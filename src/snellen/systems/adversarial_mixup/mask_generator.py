"""A small attention generator that says, pixel by pixel, how several images are blended.

Qin, Jin, Jiang, El-Yacoubi and Gao, "Adversarial AutoMixup", ICLR 2024, arXiv 2312.11954, after the mix block of Liu et
al., "AutoMix", ECCV 2022, arXiv 2103.13027. Every image i of a blend attends, from each place of its feature map, to
what the other images have there and elsewhere; the result becomes its mask.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.core.errors import InputError

Upsampling = Literal["bilinear", "nearest"]

#: Feature maps with fewer cells a side cannot say where a blend changes.
LEAST_SIDE = 2


class Projections(NamedTuple):
    """What the generator makes of feature maps, before images are chosen: one row for each image of a batch.

    Args:
        queries: before the ReLU, (n, d, h, w).
        keys: before the ReLU, (n, d, h, w).
        values: (n, h, w).
    """

    queries: Tensor
    keys: Tensor
    values: Tensor


class MaskGenerator(nn.Module):
    """Feature maps of the parts → masks that sum to 1 at every pixel.

    Queries, keys and values are 1 x 1 convolutions with the same weights for all parts: queries and keys to half of the
    channels, with a ReLU, values to one. Initial weights are normal with a deviation of 0.01, biases 0, so that the
    first masks are nearly even. The published block can normalise queries and keys before the ReLU. On few channels it
    must: maps are positive, so that without it all places attend to one and the same, or to all alike, and no mask
    varies within an image.

    >>> generator = MaskGenerator(8)
    >>> parts = torch.stack([torch.arange(5), torch.arange(5).flip(0)])
    >>> masks = generator(torch.randn(5, 8, 4, 4), parts, None, (9, 7))
    >>> masks.shape, bool(torch.allclose(masks.sum(1), torch.ones(5, 9, 7)))
    (torch.Size([5, 2, 9, 7]), True)

    Args:
        channels: of the feature maps (c); at least 2.
        knows_shares: whether the share of each part is laid beside its map as a constant channel (``lam_concat``).
        upsampling: from the grid of the maps to the pixels: bilinear for convolutional networks, nearest for
            transformers, as published.
        attention_gain: where given, queries and keys pass a BatchNorm before the ReLU, and its first weights are this;
            above 0. The larger it is, the fewer places each place attends to.
    """

    #: Its learning rate in units of the plan's; see :func:`snellen.training.optimizers.build_optimizer`.
    rate_factor: float = 1.0

    def __init__(
        self,
        channels: int,
        *,
        knows_shares: bool = False,
        upsampling: Upsampling = "bilinear",
        attention_gain: float | None = None,
    ) -> None:
        super().__init__()
        if channels < 2:
            raise InputError(f"a mask generator takes feature maps of at least 2 channels, got {channels}")
        self.knows_shares, self.upsampling = knows_shares, upsampling
        entering, inner = channels + knows_shares, channels // 2
        self.query = nn.Conv2d(entering, inner, 1)
        self.key = nn.Conv2d(entering, inner, 1)
        self.value = nn.Conv2d(entering, 1, 1)
        for convolution in (self.query, self.key, self.value):
            nn.init.normal_(convolution.weight, std=0.01)
            assert convolution.bias is not None
            nn.init.zeros_(convolution.bias)
        self.query_norm: nn.Module = _norm(inner, attention_gain)
        self.key_norm: nn.Module = _norm(inner, attention_gain)

    def forward(self, maps: Tensor, parts: Tensor, shares: Tensor | None, size: tuple[int, int]) -> Tensor:
        """Masks of blends.

        Args:
            maps: of the images of a batch, (n, c, h, w).
            parts: which images are blended: int64 (p, n), p at least 2; row i holds the i-th part of each blend.
            shares: of each part in the label, (n, p); needed where the generator knows shares.
            size: height and width of the images, pixels.

        Returns:
            Masks (n, p, height, width), float32, at least 0, that sum to 1 over the parts.
        """
        return self.masks(self.project(maps), parts, shares, size)

    def project(self, maps: Tensor) -> Projections:
        """Convolve each image's map once; blends choose among the results."""
        if maps.ndim != 4 or min(maps.shape[2:]) < LEAST_SIDE:
            raise InputError(
                f"a mask generator takes feature maps (n, c, h, w) of at least {LEAST_SIDE} cells a side, got "
                f"{tuple(maps.shape)}; choose an earlier feature_layer, or larger images"
            )
        entering = F.pad(maps, (0, 0, 0, 0, 0, 1)) if self.knows_shares else maps
        queries, keys = self.query_norm(self.query(entering)), self.key_norm(self.key(entering))
        return Projections(queries, keys, self.value(entering)[:, 0])

    def masks(self, projected: Projections, parts: Tensor, shares: Tensor | None, size: tuple[int, int]) -> Tensor:
        """Masks of blends from projections, as :meth:`forward` gives them."""
        queries, keys, values = (one[parts].transpose(0, 1) for one in projected)
        if self.knows_shares:
            if shares is None:
                raise InputError("this mask generator knows the shares of its parts: pass them")
            # A constant channel adds its weight times the share, the same at every place; it is not normalised.
            plane = shares[:, :, None, None, None].to(queries.dtype)
            queries = queries + plane * self.query.weight[:, -1, 0, 0].view(-1, 1, 1)
            keys = keys + plane * self.key.weight[:, -1, 0, 0].view(-1, 1, 1)
            values = values + plane[..., 0] * self.value.weight[0, -1, 0, 0]
        with torch.autocast(queries.device.type, enabled=False):
            answers = cross_attention(queries.float().relu(), keys.float().relu(), values.float())
            options = {"align_corners": False} if self.upsampling == "bilinear" else {}
            return F.interpolate(answers, size=size, mode=self.upsampling, **options).softmax(1)


def _norm(channels: int, gain: float | None) -> nn.Module:
    """A BatchNorm with these first weights, or nothing."""
    if gain is None:
        return nn.Identity()
    made = nn.BatchNorm2d(channels)
    nn.init.constant_(made.weight, gain)
    return made


def cross_attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """What each part finds in the others: A_i v_i, with A_i = softmax over rows of (Σ_{j≠i} q_iᵀ k_j) / √d.

    The keys of the others are summed first: Σ_{j≠i} q_iᵀ k_j = q_iᵀ (Σ_j k_j − k_i), p products in place of p (p − 1).

    Args:
        queries: (n, p, d, h, w), of p parts.
        keys: (n, p, d, h, w).
        values: (n, p, h, w).

    Returns:
        Answers (n, p, h, w).
    """
    others = keys.sum(1, keepdim=True) - keys
    attended = F.scaled_dot_product_attention(
        queries.flatten(3).transpose(2, 3),
        others.flatten(3).transpose(2, 3),
        values.flatten(2)[..., None],
        scale=1 / math.sqrt(queries.shape[2]),
    )
    return attended.reshape(values.shape)
