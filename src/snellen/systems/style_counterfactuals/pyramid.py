"""Encoders: four frozen maps, fixed random mixing of their channels, a head for each (ProjectedEx); or a single scale.

Qi et al., CBMS 2025, arXiv 2501.01392, the encoder reconstructed from its two figures (the released code does not hold
it); mixing as in Projected GANs (Sauer et al., NeurIPS 2021): a random 1×1 convolution for each scale, Kaiming-initial
and never trained. Gradients pass through backbone and mixing to the images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.models.classifiers.references import load_classifier
from snellen.models.latent_generators.style_network import DownNetwork
from snellen.systems.style_counterfactuals.calibration import Standardised, rescale
from snellen.systems.style_counterfactuals.maps import LEVELS, pyramid_layers, read_maps

#: Smallest side of a map that a head still halves.
SMALLEST = 4

SLOPE = 0.2


def resized(images: Tensor, size: tuple[int, int] | None) -> Tensor:
    """Images (n, 3, h, w) in [0, 1] at another size, averaged where they shrink; unchanged where they fit."""
    if size is None or tuple(images.shape[2:]) == tuple(size):
        return images
    shrinks = size[0] < images.shape[2] or size[1] < images.shape[3]
    # Interpolation may leave [0, 1] by a rounding, which a classifier refuses.
    return F.interpolate(images, size=size, mode="bilinear", antialias=shrinks, align_corners=False).clamp(0, 1)


class RandomBackbone(nn.Sequential):
    """Four strided stages that nobody trained: widths w, 2w, 4w, 8w; maps of a half to a sixteenth of the side."""

    def __init__(self, width: int = 16) -> None:
        stages, channels = list[nn.Module](), 3
        for level in range(LEVELS):
            wide = width * 2**level
            first, second = nn.Conv2d(channels, wide, 3, 2, 1), nn.Conv2d(wide, wide, 3, 1, 1)
            for layer in (first, second):
                nn.init.kaiming_normal_(layer.weight, a=SLOPE)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
            stages.append(nn.Sequential(first, nn.LeakyReLU(SLOPE), second, nn.LeakyReLU(SLOPE)))
            channels = wide
        super().__init__(*stages)


class Backbone(nn.Module):
    """A frozen network that gives maps L1 to L4. It stays in evaluation mode, and none of its weights is trained.

    Args:
        network: the network; frozen in place, so hand over one that nobody else trains.
        run: images (n, 3, h, w) in [0, 1] → anything, by one pass of ``network``.
        side: of the images, to find the layers with.
        name: for messages, and to load it again.
    """

    def __init__(self, network: nn.Module, run: Callable[[Tensor], object], side: int, name: str) -> None:
        super().__init__()
        self.network, self.run, self.name = network, run, name
        self.network.eval().requires_grad_(False)
        probe = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
        where = next(network.parameters(), probe).device
        self.layers = pyramid_layers(network, lambda: run(probe.to(where)), name)
        maps = self(probe.to(where))
        self.channels = tuple(int(one.shape[1]) for one in maps)
        self.shapes = tuple((int(one.shape[2]), int(one.shape[3])) for one in maps)
        self.sides = tuple(map(min, self.shapes))

    def train(self, mode: bool = True) -> Backbone:
        """Stay in evaluation mode: batch statistics would change with the batch."""
        return super().train(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps of images (n, 3, h, w) in [0, 1], the largest first."""
        return read_maps(self.network, self.layers, lambda: self.run(images), self.name)[1]


def load_backbone(reference: str, side: int, *, width: int = 16, device: str | torch.device = "cpu") -> Backbone:
    """A backbone: ``random``, a small network that nobody trained, or any classifier by reference.

    A classifier sees images at its own size, with its own normalisation.

    Raises:
        InputError: a classifier without layers or gradients, or without maps of four sizes.
    """
    if reference == "random":
        network = RandomBackbone(width).to(device)
        # A function, because a module that is kept under a second name would be saved twice.
        return Backbone(network, lambda images: network(images), side, reference)
    classifier = load_classifier(reference, device=str(device))
    if classifier.module is None or not classifier.differentiable:
        raise InputError(f"{reference} gives no layers and gradients; take a torch model as the backbone, or random")
    size = classifier.preparation.size
    return Backbone(classifier.module, lambda images: classifier(resized(images, size)), side, reference)


class SingleEncoder(nn.Module):
    """Images → codes by a trained network of one scale, as StylEx has it.

    Args:
        network: images (n, 3, side, side) → (n, width), with a last layer ``head``.
        side: of the images.
    """

    def __init__(self, network: DownNetwork, side: int) -> None:
        super().__init__()
        self.standardised, self.network = Standardised(3, (side, side)), network

    def calibrate(self, images: Tensor) -> None:
        """Begin with codes of mean 0 and deviation 1 over images (n, 3, side, side) in [0, 1]."""
        with torch.no_grad():
            self.standardised.fit(images)
            rescale(self.network.head, self(images))

    def forward(self, images: Tensor) -> Tensor:
        """Codes (n, width) of images (n, 3, side, side) in [0, 1]."""
        codes: Tensor = self.network(self.standardised(images))
        return codes


class PyramidEncoder(nn.Module):
    """Images → [e_1; e_2; e_3; e_4], one part for each scale.

    >>> encoder = PyramidEncoder(load_backbone("random", 32, width=4), width=16, mixed=4)
    >>> encoder(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 16])

    Args:
        backbone: gives the maps.
        width: numbers of the code without the classifier's scores, split evenly over the scales; published 512.
        mixed: channels of the first mixed map, doubled for each scale; published 64.
        most: channels of a mixed map at most.
    """

    def __init__(self, backbone: Backbone, *, width: int, mixed: int, most: int = 512) -> None:
        super().__init__()
        if width < LEVELS or width % LEVELS:
            raise InputError(f"a code of {width} numbers cannot be split over {LEVELS} scales; take a multiple of them")
        self.backbone, self.width = backbone, width
        wide = [min(mixed * 2**level, most) for level in range(LEVELS)]
        self.mixing = nn.ModuleList(
            nn.Conv2d(have, make, 1, bias=False) for have, make in zip(backbone.channels, wide, strict=True)
        )
        for layer in self.mixing:
            assert isinstance(layer, nn.Conv2d)
            nn.init.kaiming_normal_(layer.weight)
        self.mixing.requires_grad_(False)
        self.standardised = nn.ModuleList(
            Standardised(channels, shape) for channels, shape in zip(wide, backbone.shapes, strict=True)
        )
        self.heads = nn.ModuleList(
            scale_head(channels, side, width // LEVELS) for channels, side in zip(wide, backbone.sides, strict=True)
        )

    def parts(self, images: Tensor) -> list[Tensor]:
        """The part e_i of each scale, (n, width / 4) each."""
        rows = zip(self.heads, self.standardised, self.mixing, self.backbone(images), strict=True)
        return [head(standardised(mix(one))) for head, standardised, mix, one in rows]

    def calibrate(self, images: Tensor) -> None:
        """Begin with codes of mean 0 and deviation 1 over images (n, 3, h, w) in [0, 1]."""
        rows = zip(self.heads, self.standardised, self.mixing, self.backbone(images), strict=True)
        with torch.no_grad():
            for head, standardised, mix, one in rows:
                assert isinstance(head, nn.Sequential)
                last = head[-1]
                assert isinstance(last, nn.Linear)
                assert isinstance(standardised, Standardised)
                rescale(last, head(standardised.fit(mix(one))))

    def forward(self, images: Tensor) -> Tensor:
        """Codes (n, width) of images (n, 3, h, w) in [0, 1]."""
        return torch.cat(self.parts(images), 1)


def scale_head(channels: int, side: int, width: int) -> nn.Module:
    """Strided convolutions down to a map of 4×4 or less, and a linear layer to ``width`` numbers."""
    layers, now = [nn.Conv2d(channels, channels, 3, 1, 1), nn.LeakyReLU(SLOPE)], side
    while now > SMALLEST:
        layers += [nn.Conv2d(channels, channels, 3, 2, 1), nn.LeakyReLU(SLOPE)]
        now = math.ceil(now / 2)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(now), nn.Flatten(), nn.Linear(channels * now * now, width))


def check_side(side: int) -> None:
    """Refuse sides that a generator of doubling blocks cannot make.

    Raises:
        InputError: no power of two of at least 8.
    """
    if side < 8 or side & (side - 1):
        raise InputError(f"images of {side} pixels: the generator doubles its side; take a power of two from 8 on")


def trainable(modules: Sequence[nn.Module]) -> list[nn.Parameter]:
    """Parameters that an optimiser gets: none of a backbone, none of the mixing."""
    return [one for module in modules for one in module.parameters() if one.requires_grad]
