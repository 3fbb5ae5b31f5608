"""The network of TexTile: a ConvNeXt with two blocks of linear attention, and one number for an image.

Rodriguez-Pardo, Casas, Garces and Lopez-Moreno, "TexTile: A Differentiable Metric for Texture Tileability", CVPR 2024,
arXiv 2403.12961, section 3. Names of weights are those of the released files, so that these load.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torchvision.models.convnext import CNBlockConfig, ConvNeXt

from snellen.core.errors import InputError
from snellen.models.weights.state_dict_file import load_strictly


class TileabilityConfig(BaseModel):
    """Sizes of a network; the defaults are those of the released weights.

    >>> TileabilityConfig().channels[-1]
    1024
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: tuple[int, int, int, int] = Field((128, 256, 512, 1024), description="of the four stages")
    depths: tuple[int, int, int, int] = Field((3, 3, 27, 3), description="blocks of the four stages")
    heads: int = Field(16, ge=1, le=256, description="of both attention blocks")
    head_width: tuple[int, int] = Field((128, 256), description="of the heads of the first and of the second block")
    attention: bool = Field(True, description="whether there are attention blocks; without them it is a plain ConvNeXt")
    layer_scale: float = Field(
        1e-6, gt=0, le=1, description="weight of each block at the start; 1 for networks that begin from nothing"
    )
    side: int = Field(512, ge=32, le=4096, description="to which the tiled picture is resized, pixels")

    @model_validator(mode="after")
    def _sizes(self) -> TileabilityConfig:
        if min(*self.channels, *self.depths, *self.head_width) < 1 or max(*self.channels, *self.head_width) > 8192:
            raise InputError(f"channels, depths and widths of heads lie in 1 … 8192; got {self.model_dump()}")
        return self


class ChannelNorm(nn.Module):
    """Normalise the channels of each position, with a gain and an offset for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.g = nn.Parameter(nn.init.ones_(Tensor(1, channels, 1, 1)))
        self.b = nn.Parameter(nn.init.zeros_(Tensor(1, channels, 1, 1)))

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (n, c, h, w)."""
        centred = maps - maps.mean(1, keepdim=True)
        return centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt() * self.g + self.b


class LinearAttention(nn.Module):
    """x + γ · attention(x), whose cost grows with the number of positions and not with its square.

    Convolutions see seams; attention over the whole picture sees that a motif comes back.

    Args:
        channels: of the maps.
        heads: how many.
        width: of each head.
    """

    def __init__(self, channels: int, heads: int, width: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Conv2d(channels, 3 * heads * width, 1, bias=False)
        self.to_out = nn.Sequential(nn.Conv2d(heads * width, channels, 1), ChannelNorm(channels))
        self.gamma = nn.Parameter(nn.init.constant_(Tensor([0.0]).squeeze(0), 0.01))

    def weights(self, maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, which sum to 1 over the channels of a head, keys, which sum to 1 over positions, and values.

        Each (n, heads, width, positions).
        """
        queries, keys, values = (
            part.unflatten(1, (self.heads, -1)).flatten(3) for part in self.to_qkv(maps).chunk(3, dim=1)
        )
        return queries.softmax(2), keys.softmax(3), values

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (n, c, h, w)."""
        queries, keys, values = self.weights(maps)
        context = keys @ values.transpose(2, 3)
        mixed = (context.transpose(2, 3) @ queries) / queries.shape[2] ** 0.5
        found: Tensor = self.to_out(mixed.flatten(1, 2).unflatten(2, maps.shape[2:]))
        return maps + self.gamma * found


class TileabilityNetwork(nn.Module):
    """A tiled, normalised picture (n, 3, s, s) → a logit (n,): positive where it repeats without a visible seam."""

    def __init__(self, config: TileabilityConfig) -> None:
        super().__init__()
        channels = config.channels
        following = (*channels[1:], None)
        stages = [CNBlockConfig(*one) for one in zip(channels, following, config.depths, strict=True)]
        layers = list(ConvNeXt(stages, layer_scale=config.layer_scale).features)
        if config.attention:
            first, second = config.head_width
            layers.insert(5, LinearAttention(channels[2], config.heads, first))
            layers.insert(8, LinearAttention(channels[3], config.heads, second))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Flatten(1), nn.Linear(channels[3], 1))

    def take_convnext(self, weights: Mapping[str, Tensor]) -> None:
        """Begin with the features of a ConvNeXt of torchvision, as the paper does with ImageNet's.

        Args:
            weights: its state dict; the head is left out.

        Raises:
            InputError: another network.
        """
        places = [place for place, layer in enumerate(self.features) if not isinstance(layer, LinearAttention)]
        own = {name: one for name, one in self.state_dict().items() if name.startswith("features.")}
        found = dict(own)
        for name, one in weights.items():
            first, _, rest = name.removeprefix("features.").partition(".")
            if name.startswith("features.") and first.isdecimal() and int(first) < len(places):
                found[f"features.{places[int(first)]}.{rest}"] = one
        kept = {name.removeprefix("features."): one for name, one in found.items()}
        load_strictly(self.features, kept, source="the weights of a ConvNeXt")
        if all(found[name] is one for name, one in own.items()):
            raise InputError("these weights hold no features of a ConvNeXt (names that begin with features.)")

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits (n,)."""
        found: Tensor = self.classifier(self.features(pictures).mean((2, 3)))
        return found[:, 0]
