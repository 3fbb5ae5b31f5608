"""Modulated convolution, w'ᵢ = sᵢ·wᵢ / ‖s·w‖ (Karras et al. 2020, equations 1 and 3), and the generator made of it.

*Analyzing and Improving the Image Quality of StyleGAN*, CVPR 2020, in the plain form that StylEx (Lang et
al., ICCV 2021) trains at small sizes: two convolutions a size, a skip to colours, one code w a block.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from snellen.core.artifact import Artifact, Card, Lineage
from snellen.core.errors import InputError
from snellen.models.weights.state_dict_file import load_strictly

#: Name of the architecture in the card of an artifact.
ARCHITECTURE = "style_generator"

#: Side of the learned constant from which every image starts, pixels.
SMALLEST = 4

_SLOPE = 0.2


class StyleShape(BaseModel):
    """Sizes of a generator, and of the networks that judge or encode its images.

    >>> StyleShape(latent=8, widths=(16, 8)).side, StyleShape(latent=8, widths=(16, 8)).coordinates
    (8, 56)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    latent: int = Field(514, ge=2, description="numbers of a code w, and of a noise z")
    widths: tuple[int, ...] = Field(
        (512, 256, 128, 64, 32), min_length=1, description="channels behind each block; the first is 4 pixels wide"
    )
    channels: int = Field(3, ge=1, description="colours of an image")
    mapping_layers: int = Field(8, ge=0, description="layers from z to w; 0: z is w")
    mapping_rate: float = Field(0.1, gt=0, description="learning rate of the mapping, relative to the rest")
    bounded: bool = Field(False, description="a sigmoid keeps images in [0, 1]; published: none")

    @model_validator(mode="after")
    def _positive(self) -> StyleShape:
        if min(self.widths) < 1:
            raise ValueError(f"every block has at least one channel; got widths {self.widths}")
        return self

    @property
    def side(self) -> int:
        """Width and height of an image, pixels."""
        return SMALLEST * 2 ** (len(self.widths) - 1)

    @property
    def entering(self) -> tuple[int, ...]:
        """Channels that enter each block: those of the constant, then those behind the block before."""
        return (self.widths[0], *self.widths[:-1])

    @property
    def coordinates(self) -> int:
        """S, the coordinates of StyleSpace: both styles of every block, without those of the colours."""
        return sum(self.entering) + sum(self.widths)


class Style(NamedTuple):
    """What the affine layers make of a code: the scales of every convolution.

    Attributes:
        space: StyleSpace (n, S); [style 1, style 2] of each block, the coarsest first.
        colours: scales of the convolutions to colours (n, sum of widths), which are not part of StyleSpace.
    """

    space: Tensor
    colours: Tensor


class Maps(NamedTuple):
    """Where rendering stands in front of a block: its maps (n, c, h, w), and the colours so far (None: none yet)."""

    features: Tensor
    image: Tensor | None


def modulated(maps: Tensor, weight: Tensor, scale: Tensor, *, normalised: bool = True) -> Tensor:
    """Convolve with a weight whose input channels are scaled for each image, and whose norm is brought back to 1.

    Args:
        maps: of n images, (n, c, h, w).
        weight: (out, c, k, k), k odd.
        scale: (n, c); a channel is multiplied by 1 + scale.
        normalised: divide the weights of each output channel by their norm ("demodulation").

    Returns:
        Maps (n, out, h, w).
    """
    scaled = maps * (1 + scale)[:, :, None, None]
    convolved = F.conv2d(scaled, weight, padding=weight.shape[-1] // 2)
    if not normalised:
        return convolved
    # the norm is that of scaled weights; scaling maps instead of weights keeps one convolution for the whole batch
    squares = (1 + scale).square() @ weight.square().sum((2, 3)).T
    return convolved * torch.rsqrt(squares + 1e-8)[:, :, None, None]


class StyleBlock(nn.Module):
    """Double the size (but for the first), two modulated convolutions with noise, and a skip to colours."""

    def __init__(self, shape: StyleShape, index: int) -> None:
        super().__init__()
        entering, width = shape.entering[index], shape.widths[index]
        self.doubles = index > 0
        self.style1, self.style2 = nn.Linear(shape.latent, entering), nn.Linear(shape.latent, width)
        self.to_colours = nn.Linear(shape.latent, width)
        self.weight1 = nn.Parameter(torch.empty(width, entering, 3, 3))
        self.weight2 = nn.Parameter(torch.empty(width, width, 3, 3))
        self.colours = nn.Parameter(torch.empty(shape.channels, width, 1, 1))
        self.bias1, self.bias2 = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))
        self.noise1, self.noise2 = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))
        for weight in (self.weight1, self.weight2, self.colours):
            nn.init.kaiming_normal_(weight, a=0, mode="fan_in", nonlinearity="leaky_relu")

    def forward(self, before: Maps, style1: Tensor, style2: Tensor, colours: Tensor, noise: Tensor | None) -> Maps:
        """Maps in front of this block → maps in front of the next one."""
        maps, image = before
        if self.doubles:
            maps = F.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)
            assert image is not None
            image = F.interpolate(image, scale_factor=2, mode="bilinear", align_corners=False)
        side = maps.shape[-1]
        grain = None if noise is None else noise[:, :, :side, :side]
        for weight, scale, bias, strength in (
            (self.weight1, style1, self.bias1, self.noise1),
            (self.weight2, style2, self.bias2, self.noise2),
        ):
            maps = modulated(maps, weight, scale) + bias[:, None, None]
            if grain is not None:
                maps = maps + strength[:, None, None] * grain
            maps = F.leaky_relu(maps, _SLOPE)
        drawn = modulated(maps, self.colours, colours, normalised=False)
        return Maps(maps, drawn if image is None else image + drawn)


class MappingNetwork(nn.Module):
    """z ~ N(0, I), normalised → w, by linear layers whose learning rate is a fraction of the others'."""

    def __init__(self, shape: StyleShape) -> None:
        super().__init__()
        self.rate = shape.mapping_rate
        self.layers = nn.ModuleList(nn.Linear(shape.latent, shape.latent) for _ in range(shape.mapping_layers))
        for layer in self.layers:
            assert isinstance(layer, nn.Linear)
            nn.init.normal_(layer.weight, std=1 / self.rate)
            nn.init.zeros_(layer.bias)

    def forward(self, latents: Tensor) -> Tensor:
        """Noises z (n, d) → w (n, d)."""
        codes = F.normalize(latents, dim=1) * math.sqrt(latents.shape[1])
        for layer in self.layers:
            assert isinstance(layer, nn.Linear)
            weight = layer.weight * (self.rate / math.sqrt(layer.in_features))
            codes = F.leaky_relu(F.linear(codes, weight, layer.bias * self.rate), _SLOPE) * math.sqrt(2)
        return codes


class StyleNetwork(nn.Module):
    """Codes → images. Calling it takes noises z (n, d); :meth:`synthesis` takes codes w.

    >>> network = StyleNetwork(StyleShape(latent=8, widths=(16, 8)))
    >>> network(torch.zeros(2, 8)).shape, network.styles(torch.zeros(2, 8)).space.shape
    (torch.Size([2, 3, 8, 8]), torch.Size([2, 56]))
    """

    def __init__(self, shape: StyleShape) -> None:
        super().__init__()
        self.shape = shape
        self.mapping = MappingNetwork(shape)
        self.constant = nn.Parameter(torch.randn(1, shape.widths[0], SMALLEST, SMALLEST))
        self.blocks = nn.ModuleList(StyleBlock(shape, index) for index in range(len(shape.widths)))

    def forward(self, latents: Tensor) -> Tensor:
        """Noises z (n, d) → images (n, channels, side, side), without noise."""
        return self.synthesis(self.mapping(latents))

    def synthesis(self, codes: Tensor, noise: Tensor | None = None) -> Tensor:
        """Codes w (n, d), or (n, blocks, d) with one code a block → images."""
        return self.render(self.styles(codes), noise)

    def styles(self, codes: Tensor) -> Style:
        """Codes w (n, d) or (n, blocks, d) → the scales that the affine layers make of it.

        Raises:
            InputError: codes of another shape.
        """
        blocks, latent = len(self.blocks), self.shape.latent
        if codes.shape[1:] not in ((latent,), (blocks, latent)):
            raise InputError(
                f"this generator takes codes (n, {latent}) or (n, {blocks}, {latent}); got {tuple(codes.shape)}"
            )
        each = codes.unbind(1) if codes.ndim == 3 else (codes,) * blocks
        space, colours = list[Tensor](), list[Tensor]()
        for block, code in zip(self._blocks(), each, strict=True):
            space += [block.style1(code), block.style2(code)]
            colours.append(block.to_colours(code))
        return Style(torch.cat(space, 1), torch.cat(colours, 1))

    def render(
        self, style: Style, noise: Tensor | None = None, *, start: int = 0, before: Maps | None = None
    ) -> Tensor:
        """Styles → images. Of styles that differ in late blocks only, the maps ``before`` them can be kept.

        Args:
            style: of n images.
            noise: (1 or n, 1, side, side), standard normal; None: none. Each size takes its upper left part.
            start: the first block that is computed.
            before: maps in front of that block, as :meth:`maps` gives them, of 1 or n images; needed where start > 0.
        """
        state = self.maps(style, len(self.blocks), noise, start=start, before=before)
        assert state.image is not None
        return state.image.sigmoid() if self.shape.bounded else state.image

    def maps(
        self, style: Style, stop: int, noise: Tensor | None = None, *, start: int = 0, before: Maps | None = None
    ) -> Maps:
        """Maps in front of block ``stop`` (behind the last one, if it is their number).

        Raises:
            InputError: a block that this generator does not have, or a start without the maps before it.
        """
        if not 0 <= start <= stop <= len(self.blocks):
            raise InputError(f"blocks 0 to {len(self.blocks)} can be cut at; got start {start} and stop {stop}")
        if (before is None) != (start == 0):
            raise InputError("maps are given exactly where rendering does not start at block 0")
        count = len(style.space)
        state = Maps(self.constant.expand(count, -1, -1, -1), None) if before is None else _repeated(before, count)
        for index in range(start, stop):
            block, entering, width = self._blocks()[index], self.shape.entering[index], self.shape.widths[index]
            first, colour = self.first_coordinate(index), sum(self.shape.widths[:index])
            state = block(
                state,
                style.space[:, first : first + entering],
                style.space[:, first + entering : first + entering + width],
                style.colours[:, colour : colour + width],
                noise,
            )
        return state

    def first_coordinate(self, block: int) -> int:
        """Where the styles of a block begin in StyleSpace."""
        return sum(self.shape.entering[:block]) + sum(self.shape.widths[:block])

    @property
    def block_of(self) -> Tensor:
        """The block in which each coordinate of StyleSpace acts, from 0: int64 (S,)."""
        sizes = [have + make for have, make in zip(self.shape.entering, self.shape.widths, strict=True)]
        return torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))

    def truncated(self, latents: Tensor, truncation: float) -> Tensor:
        """Noises z (n, d) → images at codes w̄ + ψ (w − w̄), nearer to the mean code."""
        mean = self.mean_code()
        return self.synthesis(mean + truncation * (self.mapping(latents) - mean))

    def mean_code(self, draws: int = 1024, seed: int = 0) -> Tensor:
        """w̄ (1, d), over noises that the seed draws."""
        with torch.no_grad():
            drawn = torch.randn(draws, self.shape.latent, generator=torch.Generator().manual_seed(seed))
            mean: Tensor = self.mapping(drawn.to(self.constant.device)).mean(0, keepdim=True)
        return mean

    def _blocks(self) -> list[StyleBlock]:
        return [block for block in self.blocks if isinstance(block, StyleBlock)]


class DownNetwork(nn.Module):
    """Images (n, channels, side, side) → vectors (n, outputs), by residual blocks that halve the size.

    With one output it is the discriminator of a generator of the same shape, with more the encoder at one scale.
    """

    def __init__(self, shape: StyleShape, outputs: int = 1) -> None:
        super().__init__()
        widths = shape.widths[::-1]
        entering = (shape.channels, *widths[:-1])
        self.blocks = nn.ModuleList(
            _DownBlock(before, after, downsample=index < len(widths) - 1)
            for index, (before, after) in enumerate(zip(entering, widths, strict=True))
        )
        self.last = nn.Conv2d(widths[-1], widths[-1], 3, 1, 1)
        self.head = nn.Linear(widths[-1] * SMALLEST**2, outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Judge, or encode."""
        maps = images
        for block in self.blocks:
            maps = block(maps)
        vectors: Tensor = self.head(F.leaky_relu(self.last(maps), _SLOPE).flatten(1))
        return vectors


class _DownBlock(nn.Module):
    def __init__(self, before: int, after: int, *, downsample: bool) -> None:
        super().__init__()
        self.short = nn.Conv2d(before, after, 1, 2 if downsample else 1)
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, 1, 1),
            nn.LeakyReLU(_SLOPE),
            nn.Conv2d(after, after, 3, 1, 1),
            nn.LeakyReLU(_SLOPE),
        )
        self.down = nn.Conv2d(after, after, 3, 2, 1) if downsample else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        return (self.down(self.body(maps)) + self.short(maps)) / math.sqrt(2)


def style_artifact(
    network: StyleNetwork,
    name: str,
    lineage: Lineage,
    *,
    description: str = "",
    metrics: Mapping[str, float] | None = None,
) -> Artifact:
    """A generator with its card; ``save`` writes weights.safetensors and card.json."""
    architecture: dict[str, Any] = {"name": ARCHITECTURE, **network.shape.model_dump(mode="json")}
    card = Card(
        name=name,
        kind="other",
        architecture=architecture,
        description=description,
        metrics=dict(metrics or {}),
        lineage=lineage,
    )
    tensors = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    return Artifact(card=card, tensors=tensors)


def style_network(artifact: Artifact, *, source: str) -> StyleNetwork:
    """The generator of an artifact.

    Raises:
        InputError: an artifact of another architecture, or weights that do not fit it.
    """
    described = dict(artifact.card.architecture)
    if described.pop("name", None) != ARCHITECTURE:
        raise InputError(f"{source} holds a {artifact.card.kind}, and not a style generator ({ARCHITECTURE})")
    with torch.random.fork_rng(devices=[]):
        network = StyleNetwork(StyleShape.model_validate(described))
    load_strictly(network, artifact.tensors, source=source)
    return network.eval()


def _repeated(maps: Maps, count: int) -> Maps:
    features, image = maps
    if len(features) == count:
        return maps
    return Maps(features.expand(count, -1, -1, -1), None if image is None else image.expand(count, -1, -1, -1))
