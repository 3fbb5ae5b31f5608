"""Regions of images as vectors: features of a frozen network at several depths, averaged over a mask.

Hernandez et al., ICLR 2022 (arXiv 2201.11114), section 3.2: the whole image goes through the network, and the mask acts
on its features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, UnsupportedError
from snellen.models.layers.layer_edits import reading


def masked_means(maps: Tensor, masks: Tensor) -> Tensor:
    """Mean of feature maps over masks: (n, c, h, w), (n, H, W) in [0, 1] → (n, c); zeros where a mask is empty.

    The mask is scaled to the map with antialiasing, so that no small region is lost, and divided by its sum.

    >>> maps = torch.arange(4.0).view(1, 1, 2, 2)
    >>> masked_means(maps, torch.tensor([[[0, 0], [0, 1]]])), masked_means(maps, torch.zeros(1, 8, 8))
    (tensor([[3.]]), tensor([[0.]]))
    """
    weights = F.interpolate(masks[:, None].to(maps), maps.shape[2:], mode="bilinear", antialias=True)[:, 0]
    total = weights.sum((1, 2), keepdim=True)
    weights = torch.where(total > 0, weights / total.clamp(min=1e-12), torch.zeros_like(weights))
    return torch.einsum("nchw,nhw->nc", maps, weights)


class RegionEncoder:
    """A frozen classifier, read at several layers.

    Args:
        classifier: of images of one size; it is in evaluation mode, and stays so.
        levels: names of layers that give maps, from the first on.
    """

    def __init__(self, classifier: Classifier, levels: Sequence[str]) -> None:
        if classifier.module is None or classifier.preparation.size is None:
            raise UnsupportedError(
                f"{classifier.name} cannot encode regions: that takes a torch module and a fixed size"
            )
        self.classifier, self.levels, self.size = classifier, tuple(levels), classifier.preparation.size

    @torch.no_grad()
    def maps(self, images: Tensor) -> list[Tensor]:
        """Feature maps of each level for images (n, 3, h, w) in [0, 1] of any size, which are scaled to the encoder's.

        Images of any shape are squeezed to its size, as the masks are.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise InputError(f"expected images (n, 3, h, w) in [0, 1], got {tuple(images.shape)}")
        assert self.classifier.module is not None
        scaled = images
        if tuple(images.shape[2:]) != self.size:
            scaled = F.interpolate(images, self.size, mode="bilinear", antialias=True).clamp(0, 1)
        with reading(self.classifier.module, self.levels) as activations:
            self.classifier(scaled.to(self.classifier.device))
        return [activations[level][0] for level in self.levels]

    @torch.no_grad()
    def encode(self, images: Tensor, masks: Tensor) -> Tensor:
        """Vectors of regions: images (n, 3, h, w), masks (n, h, w) of them → float32 (n, d)."""
        return self.pooled(self.maps(images), masks)

    def pooled(self, maps: Sequence[Tensor], masks: Tensor) -> Tensor:
        """Vectors (n, d) of masks (n, h, w) on maps that are there already, one for each mask."""
        return torch.cat([masked_means(level, masks.to(level.device)) for level in maps], 1).float().cpu()
