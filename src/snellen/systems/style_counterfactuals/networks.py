"""The networks of ProjectedEx: generator with its average, encoder, critic, and the code w = [E(x); C(x)].

Qi et al., CBMS 2025, arXiv 2501.01392. The classifier's logits are part of the code, which feeds every layer of the
generator directly; noise takes the way through the mapping network.
"""

from __future__ import annotations

import copy
import math
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn

from snellen.models.latent_generators.style_network import DownNetwork, Maps, Style, StyleNetwork, StyleShape
from snellen.systems.style_counterfactuals.pyramid import PyramidEncoder, SingleEncoder, check_side, load_backbone

EncoderKind = Literal["pyramid", "single"]


class Sizes(BaseModel):
    """Sizes of all networks; the defaults are the published ones.

    >>> Sizes().shape(2).latent, Sizes().shape(2).coordinates, Sizes().shape(2).widths
    (514, 2464, (512, 256, 128, 64, 32))
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    side: int = Field(64, description="width and height of the generator's images, pixels; a power of two")
    capacity: int = Field(16, ge=1, description="the last block has twice as many channels, each one before it double")
    most: int = Field(512, ge=1, description="channels at most")
    width: int = Field(512, ge=4, description="numbers of the code beside the classifier's scores")
    mixed: int = Field(64, ge=1, description="channels of the first mixed map, doubled with each scale")
    mapping_layers: int = Field(8, ge=0, description="layers from noise to code")
    encoder: EncoderKind = Field("pyramid", description="four scales of a frozen backbone, or one scale, trained")
    backbone: str = Field("random", description="reference of the frozen backbone, or random")
    backbone_width: int = Field(16, ge=1, description="channels of the first stage of a random backbone")
    bounded: bool = Field(True, description="a sigmoid keeps images in [0, 1], in place of cutting off")

    @field_validator("side")
    @classmethod
    def _power_of_two(cls, side: int) -> int:
        check_side(side)
        return side

    def shape(self, classes: int) -> StyleShape:
        """Of the generator, for a classifier of so many classes."""
        blocks = int(math.log2(self.side)) - 1
        return StyleShape(
            latent=self.width + classes,
            widths=tuple(min(self.capacity * 2 ** (blocks - at), self.most) for at in range(blocks)),
            mapping_layers=self.mapping_layers,
            bounded=self.bounded,
        )


class StyleExplainer(nn.Module):
    """Encoder, generator, its average, and critic, for a classifier of ``classes`` classes.

    >>> sizes = Sizes(side=8, capacity=2, width=4, mixed=2, mapping_layers=1, encoder="single")
    >>> explainer = StyleExplainer(sizes, 3)
    >>> explainer.codes(torch.rand(2, 3, 8, 8), torch.zeros(2, 3)).shape
    torch.Size([2, 7])
    """

    path_length: Tensor

    def __init__(self, sizes: Sizes, classes: int, *, device: str | torch.device = "cpu") -> None:
        super().__init__()
        self.sizes, self.classes, shape = sizes, classes, sizes.shape(classes)
        self.generator, self.critic = StyleNetwork(shape), DownNetwork(shape)
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        self.encoder: SingleEncoder | PyramidEncoder
        if sizes.encoder == "single":
            self.encoder = SingleEncoder(DownNetwork(shape, outputs=sizes.width), sizes.side)
        else:
            backbone = load_backbone(sizes.backbone, sizes.side, width=sizes.backbone_width, device=device)
            self.encoder = PyramidEncoder(backbone, width=sizes.width, mixed=sizes.mixed, most=sizes.most)
        #: Running mean of the path lengths.
        self.register_buffer("path_length", torch.zeros(()))
        # A quarter faster on a CPU; set here, so that a loaded network computes the same bits as a trained one.
        self.to(device)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def codes(self, images: Tensor, scores: Tensor) -> Tensor:
        """The code w = [E(x); C(x)], (n, width + K), of images (n, 3, side, side) and their logits (n, K)."""
        return torch.cat([self.encoder(images), scores], 1)

    def saved(self) -> dict[str, Tensor]:
        """All tensors but those of a backbone that is loaded by reference; the mixing is among them."""
        referenced = self.sizes.backbone != "random"
        return {
            name: one
            for name, one in self.state_dict().items()
            if not (referenced and name.startswith("encoder.backbone."))
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take back what :meth:`saved` gave.

        Raises:
            RuntimeError: tensors that do not fit.
        """
        self.load_state_dict({**self.state_dict(), **tensors}, strict=True)


def fixed_noise(side: int, device: torch.device | str = "cpu") -> Tensor:
    """The one noise image for everything that is compared, (1, 1, side, side)."""
    return torch.randn(1, 1, side, side, generator=torch.Generator().manual_seed(0)).to(device)


class StyleRenderer:
    """A generator with fixed noise, as a search runs it: from the block of a moved coordinate on.

    A row of styles is StyleSpace, then the scales of the convolutions to colours, which are rendered with and never
    searched. No weight is ever changed: an edit is a row of another value.

    Args:
        network: the generator; not changed.
        noise: (1, 1, side, side).
    """

    def __init__(self, network: StyleNetwork, noise: Tensor) -> None:
        self.network, self.noise, self.coordinates = network, noise, network.shape.coordinates
        #: The block of each coordinate of StyleSpace, int64 (S,).
        self.block_of = network.block_of

    def styles(self, codes: Tensor) -> Tensor:
        """Codes (n, d) → rows of styles."""
        style = self.network.styles(codes)
        return torch.cat([style.space, style.colours], 1)

    def before(self, styles: Tensor, block: int) -> Maps | None:
        """Maps in front of a block; nothing stands before the first."""
        return None if block == 0 else self.network.maps(self._style(styles), block, self.noise)

    @staticmethod
    def rows(before: Maps | None, rows: Tensor) -> Maps | None:
        """Maps of some images, each as often as it is named."""
        if before is None:
            return None
        at = rows.to(before.features.device)
        return Maps(before.features[at], None if before.image is None else before.image[at])

    def on(self, before: Maps | None, styles: Tensor, block: int) -> Tensor:
        """Images (n, 3, side, side) in [0, 1], rendered from a block on."""
        return self.network.render(self._style(styles), self.noise, start=block, before=before).clamp(0, 1)

    def images(self, styles: Tensor) -> Tensor:
        """Images in [0, 1] of rows of styles."""
        return self.on(None, styles, 0)

    def _style(self, styles: Tensor) -> Style:
        return Style(styles[:, : self.coordinates], styles[:, self.coordinates :])
