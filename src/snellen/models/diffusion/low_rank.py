"""What a low-rank adapter is made of: rank, scale, start, and the layers of a network that it is put on.

A layer with weights W becomes W + s · (alpha / rank) · B A, where A maps to ``rank`` channels and B back, and s is the
multiplier (Hu et al., *LoRA: Low-Rank Adaptation of Large Language Models*, 2022). For a convolution, A keeps kernel,
stride and padding and B is 1 x 1. B starts at zero, so that a fresh adapter changes nothing at any multiplier.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness


class LowRank(BaseModel):
    """Parameters of an adapter.

    >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2))
    >>> list(chosen_layers(network, LowRank(layers=("0",))))
    ['0']
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(4, ge=1, description="channels of the bottleneck")
    alpha: float = Field(4.0, gt=0, description="the change of a layer is multiplied by alpha / rank")
    layers: tuple[str, ...] = Field(
        ("*",), min_length=1, description="patterns of full names of Linear and Conv2d layers"
    )
    within: tuple[str, ...] = Field((), description="only layers in blocks of these classes; empty: everywhere")
    without: tuple[str, ...] = Field((), description="no layer whose full name contains one of these")
    start: Literal["kaiming", "gaussian"] = Field(
        "kaiming", description="A: uniform, or normal with deviation 1 / rank"
    )
    slope: float = Field(math.sqrt(5), ge=0, description="negative slope that the Kaiming bound assumes")
    dropout: float = Field(0.0, ge=0, lt=1, description="of what enters A, while the network is in training mode")


#: Adapters of continuous shifts, "c3lier / noxattn" of concept sliders: all but cross-attention and time embeddings.
#: The published code leaves out names with ``time_embed`` only; here the residual blocks' own ``time_emb_proj`` are
#: left out too, so that no layer of a time embedding is adapted.
SLIDER = LowRank(
    rank=4,
    alpha=1.0,
    within=("Attention", "ResnetBlock2D", "Downsample2D", "Upsample2D"),
    without=("attn2", "time_emb"),
    slope=1.0,
)

#: Adapters of a few images of a class: the four projections of every attention block of a denoiser.
ATTENTION = LowRank(
    rank=16,
    alpha=16.0,
    layers=("*.to_q", "*.to_k", "*.to_v", "*.to_out.0"),
    within=("Attention",),
    start="gaussian",
)

#: The same for the text towers of the transformers library.
TEXT_ATTENTION = LowRank(
    rank=16, alpha=16.0, layers=("*.q_proj", "*.k_proj", "*.v_proj", "*.out_proj"), start="gaussian"
)


def adaptable_layers(network: nn.Module) -> dict[str, nn.Module]:
    """The Linear and Conv2d layers that an adapter can be put on, by full name; adapted ones by their original layer.

    The output projection inside ``torch.nn.MultiheadAttention`` is not among them: torch reads its weights without
    calling it, so that an adapter there would never act.
    """
    found: dict[str, nn.Module] = {}
    hidden: list[str] = []
    for name, layer in network.named_modules():
        if any(name.startswith(prefix) for prefix in hidden):
            continue
        original = layer.base_layer if isinstance(getattr(layer, "base_layer", None), nn.Module) else layer
        if isinstance(original, nn.Linear | nn.Conv2d):
            found[name] = original
        if original is not layer or isinstance(layer, nn.MultiheadAttention):
            hidden.append(f"{name}." if name else "")
    found.pop("", None)
    return found


def chosen_layers(network: nn.Module, settings: LowRank) -> dict[str, nn.Module]:
    """The layers of a network that an adapter with these settings is put on, by full name.

    Raises:
        InputError: a pattern that matches no layer, or none at all is left.
    """
    known = adaptable_layers(network)
    for pattern in settings.layers:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise InputError(
                f"no Linear or Conv2d layer of the {type(network).__name__} is called {pattern!r}; there are "
                f"{len(known)}: {_shown(list(known))}"
            )
    kinds = {name: type(block).__name__ for name, block in network.named_modules()}
    chosen = {
        name: layer
        for name, layer in known.items()
        if any(fnmatchcase(name, pattern) for pattern in settings.layers)
        and not any(part in name for part in settings.without)
        and (not settings.within or any(kinds[above] in settings.within for above in _above(name)))
    }
    if not chosen:
        raise InputError(
            f"no layer of the {type(network).__name__} is left: layers {list(settings.layers)}, within "
            f"{list(settings.within)}, without {list(settings.without)}"
        )
    return chosen


def start_weights(shape: Sequence[int], settings: LowRank, generator: torch.Generator) -> Tensor:
    """Draw the weights A of one layer, float32.

    >>> start_weights((4, 100), LowRank(slope=1.0), torch.Generator().manual_seed(0)).abs().max() <= 0.1 * 3**0.5
    tensor(True)
    """
    weights = torch.empty(tuple(shape))
    if settings.start == "gaussian":
        return nn.init.normal_(weights, std=1 / settings.rank, generator=generator)
    return nn.init.kaiming_uniform_(weights, a=settings.slope, generator=generator)


def layer_generator(rng: Randomness, adapter: str, layer: str) -> torch.Generator:
    """The generator that draws the start of one layer of one adapter."""
    return rng.child("adapter", adapter).generator(layer)


def _above(name: str) -> list[str]:
    """Full names of the blocks that hold a layer, the outermost first; the network itself is no block."""
    parts = name.split(".")
    return [".".join(parts[:depth]) for depth in range(1, len(parts))]


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "") if names else "none"
