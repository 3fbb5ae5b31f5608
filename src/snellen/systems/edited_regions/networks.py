"""Segmenters: images, float (n, 3, h, w) in [0, 1] → a label of each pixel, logits (n, editors + 1, h, w), at any size.

arXiv 2511.19111 trains FCN-8s (Long et al. 2015), DeepLabv3+ (Chen et al. 2018) and SegFormer (Xie et al. 2021). The
last is that of transformers. DeepLabv3 is that of torchvision, and FCN-8s is put together here on its VGG16. ``small``
keeps the full resolution in its first layers, where the traces of editors are.

Each has a second head for "edited or not", trained with a loss of its own, beside the one for the editors.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from snellen.core.errors import InputError, import_extra

Architecture = Literal["small", "fcn8s", "deeplabv3", "segformer"]

ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)

#: Mean and deviation of ImageNet, that the public trunks were trained with.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


#: Least side of an image by architecture, pixels. VGG16 halves five times; the attention of SegFormer reduces a quarter
#: of the sides to an eighth of that.
LEAST_SIDES: dict[Architecture, int] = {"small": 16, "fcn8s": 32, "deeplabv3": 16, "segformer": 32}


def _block(given: int, made: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(given, made, 3, padding=1), nn.GroupNorm(4, made), nn.SiLU(),
        nn.Conv2d(made, made, 3, padding=1), nn.GroupNorm(4, made), nn.SiLU(),
    )  # fmt: skip


#: How much a residual is magnified.
MAGNIFIED = 8.0


def residual(images: Tensor) -> Tensor:
    """What the mean of nine pixels does not explain, magnified: (n, 3, h, w) → the same shape."""
    padded = functional.pad(images, (1, 1, 1, 1), mode="reflect")
    return MAGNIFIED * (images - functional.avg_pool2d(padded, 3, 1))


class SmallUNet(nn.Module):
    """A U-Net whose first block works at full resolution, and sees what is left of a picture without its smooth part.

    Traces of a camera and of a decoder are much weaker than what a picture shows. So the network is given the picture
    and, magnified, its difference to the mean of nine pixels, as detectors of manipulation do (Bayar and Stamm 2016).

    Args:
        channels: of the output.
        width: channels of the first block; a multiple of 4.
    """

    def __init__(self, channels: int, *, width: int = 16) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(6, width, 5, padding=2), nn.GroupNorm(4, width), nn.SiLU())
        self.at_full = _block(width, width)
        self.at_half = _block(width, 2 * width)
        self.at_quarter = _block(2 * width, 3 * width)
        self.up_half = _block(5 * width, 2 * width)
        self.up_full = _block(3 * width, width)
        self.last = nn.Conv2d(width, channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of normalised images, at their size."""
        full = self.at_full(self.first(torch.cat([images, residual(images)], 1)))
        half = self.at_half(functional.avg_pool2d(full, 2, ceil_mode=True))
        quarter = self.at_quarter(functional.avg_pool2d(half, 2, ceil_mode=True))
        wide = functional.interpolate(quarter, half.shape[2:], mode="nearest")
        half = self.up_half(torch.cat([half, wide], 1))
        wide = functional.interpolate(half, full.shape[2:], mode="nearest")
        logits: Tensor = self.last(self.up_full(torch.cat([full, wide], 1)))
        return logits


class FullyConvolutional8(nn.Module):
    """FCN-8s on the trunk of torchvision's VGG16: scores at strides 32, 16 and 8, fused, enlarged by bilinear kernels.

    Args:
        channels: of the output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        torchvision = import_extra("torchvision", "models", "an FCN-8s")
        features = torchvision.models.vgg16(weights=None).features
        self.to8, self.to16, self.to32 = features[:17], features[17:24], features[24:]
        self.scores = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in (256, 512, 512))
        self.twice = nn.ModuleList(_bilinear(channels, 2) for _ in range(2))
        self.eightfold = _bilinear(channels, 8)

    def forward(self, images: Tensor) -> Tensor:
        """Logits at the size of the images, sides of 32 pixels or more."""
        at8 = self.to8(images)
        at16 = self.to16(at8)
        scores = self.scores[2](self.to32(at16))
        for upper, score, enlarge in zip((at16, at8), (self.scores[1], self.scores[0]), self.twice, strict=True):
            scores = _cut(enlarge(scores), upper.shape[2:]) + score(upper)
        return _cut(self.eightfold(scores), images.shape[2:])


def _bilinear(channels: int, factor: int) -> nn.ConvTranspose2d:
    """A transposed convolution that begins as bilinear enlargement of each channel."""
    size = 2 * factor - factor % 2
    layer = nn.ConvTranspose2d(channels, channels, size, factor, (size - factor) // 2, bias=False)
    line = 1 - (torch.arange(size) - (size - 1) / 2).abs() / factor
    with torch.no_grad():
        layer.weight.zero_()
        for channel in range(channels):
            layer.weight[channel, channel] = line[:, None] * line[None]
    return layer


def _cut(given: Tensor, size: torch.Size) -> Tensor:
    """The upper left part of this size; where an odd side was rounded down, the last pixels are repeated."""
    more = [max(0, size[at] - given.shape[2 + at]) for at in (0, 1)]
    padded = functional.pad(given, (0, more[1], 0, more[0]), mode="replicate") if any(more) else given
    return padded[:, :, : size[0], : size[1]]


class _TorchvisionDeepLab(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        torchvision = import_extra("torchvision", "models", "a DeepLabv3")
        self.network = torchvision.models.segmentation.deeplabv3_resnet50(
            weights=None, weights_backbone=None, num_classes=channels
        )

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)["out"]
        return logits


class _Segformer(nn.Module):
    """SegFormer of transformers: logits come at a quarter of the sides, and are enlarged bilinearly."""

    def __init__(self, channels: int, changes: dict[str, Any]) -> None:
        super().__init__()
        transformers = import_extra("transformers", "vlm", "a SegFormer")
        config = transformers.SegformerConfig(num_labels=channels, **changes)
        self.network = transformers.SegformerForSemanticSegmentation(config)

    def forward(self, images: Tensor) -> Tensor:
        logits = self.network(pixel_values=images).logits
        return functional.interpolate(logits, images.shape[2:], mode="bilinear", align_corners=False)


#: Sizes of MiT-B2, as SegFormer publishes them; the classes' own defaults are those of B0.
SEGFORMER_B2: dict[str, Any] = {"depths": [3, 4, 6, 3], "hidden_sizes": [64, 128, 320, 512], "decoder_hidden_size": 768}


class RegionNetwork(nn.Module):
    """A segmenter with two heads.

    Args:
        architecture: see :data:`Architecture`.
        editors: their number n.
        width: channels of the first block of ``small``.
        segformer: changes of a ``SegformerConfig``; by default MiT-B2.

    Raises:
        InputError: an unknown architecture.
        MissingExtraError: torchvision or transformers is not installed.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, architecture: Architecture, editors: int, *, width: int = 16, segformer: dict[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.architecture, self.editors = architecture, editors
        channels = editors + 2  # untouched, the editors, and the binary head
        self.body: nn.Module
        if architecture == "small":
            self.body = SmallUNet(channels, width=width)
        elif architecture == "fcn8s":
            self.body = FullyConvolutional8(channels)
        elif architecture == "deeplabv3":
            self.body = _TorchvisionDeepLab(channels)
        elif architecture == "segformer":
            self.body = _Segformer(channels, SEGFORMER_B2 if segformer is None else segformer)
        else:
            raise InputError(f"architecture {architecture!r}; expected one of {', '.join(ARCHITECTURES)}")
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(3, 1, 1), persistent=False)

    @property
    def least_side(self) -> int:
        """Least side of an image, pixels."""
        return LEAST_SIDES[self.architecture]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of labels (n, editors + 1, h, w), and of "edited" (n, h, w), for images in [0, 1]."""
        logits = self.body((images - self.mean) / self.deviation)
        return logits[:, :-1], logits[:, -1]
