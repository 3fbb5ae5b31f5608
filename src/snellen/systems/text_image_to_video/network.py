"""The network F(xₜ, text, t): a diffusion transformer that attends within frames, across frames, and to the text.

Z. Lin et al. 2024, arXiv 2412.07730 (STIV), after PixArt-α. Temporal attention joins tokens of one position, and works
in both directions. Time enters by one shared modulation with offsets for each block, and the sum of the text's tokens
with it: cross attention alone, behind a gate of 0, can only add, and learns late what the text changes. Every branch
has a gate that starts at 0, so that a new block, and a new temporal layer in a trained one, is the identity. The head
predicts the velocity of every frame, or the frame, from which the velocity follows. In training some of the positions
may be dropped (MaskDiT), never whole frames.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from snellen.systems.text_image_to_video.architecture import VideoArchitecture
from snellen.systems.text_image_to_video.flow import velocity_towards
from snellen.systems.text_image_to_video.layers import Attention, TextEncoder, mlp, norm, waves

#: Branches with shift, scale and gate of their own.
_BRANCHES = ("spatial", "temporal", "mlp")


class Block(nn.Module):
    """Spatial attention, temporal attention, cross attention, MLP.

    Args:
        architecture: numbers.
    """

    def __init__(self, architecture: VideoArchitecture) -> None:
        super().__init__()
        one = architecture
        self.causal, self.sandwich = one.causal, one.sandwich_norm
        self.offsets = nn.Parameter(torch.zeros(len(_BRANCHES), 3, one.width))
        kinds = ("spatial", *(("temporal",) if one.frames > 1 else ()), "cross")
        self.attentions = nn.ModuleDict(
            {
                kind: Attention(one.width, one.heads, query_key_norm=one.query_key_norm, query_scale=one.query_scale)
                for kind in kinds
            }
        )
        self.mlp = mlp(one.width)
        self.cross_gate = nn.Parameter(torch.zeros(one.width))
        names = (*kinds, "mlp")
        self.before = nn.ModuleDict({kind: norm(one.width, stateless=one.stateless_norm) for kind in names})
        self.behind = nn.ModuleDict(
            {kind: norm(one.width, stateless=one.stateless_norm) for kind in names if self.sandwich}
        )

    def forward(self, tokens: Tensor, modulation: Tensor, context: Tensor, allowed: Tensor, places: Places) -> Tensor:
        """Tokens (n, F, s, d), modulation (n, 3, 3, d), context (n, k, d), its mask (n, k) → (n, F, s, d)."""
        count, frames, spots, width = tokens.shape
        changes = dict(zip(_BRANCHES, (modulation + self.offsets).unbind(1), strict=True))

        def within(shown: Tensor) -> Tensor:
            attended = self.attentions["spatial"](
                shown.flatten(0, 1), positions=(places.rows, places.columns), period=places.period
            )
            return attended.unflatten(0, (count, frames))

        tokens = self._branch("spatial", tokens, changes["spatial"], within)
        if "temporal" in self.attentions:
            tokens = self._branch("temporal", tokens, changes["temporal"], lambda shown: self._across(shown, places))
        shown = self.before["cross"](tokens).flatten(1, 2)
        found = self.attentions["cross"](shown, context, allowed=allowed).view(count, frames, spots, width)
        tokens = tokens + self.cross_gate * self._behind("cross", found)
        return self._branch("mlp", tokens, changes["mlp"], self.mlp)

    def _branch(self, kind: str, tokens: Tensor, change: Tensor, layer: object) -> Tensor:
        shift, scale, gate = (part[:, None, None] for part in change.unbind(1))
        shown = self.before[kind](tokens) * (1 + scale) + shift
        return tokens + gate * self._behind(kind, layer(shown))  # type: ignore[operator]

    def _behind(self, kind: str, changed: Tensor) -> Tensor:
        return self.behind[kind](changed) if self.sandwich else changed

    def _across(self, shown: Tensor, places: Places) -> Tensor:
        """Attention across frames at each position, over those frames that have not dropped it."""
        count, frames, _, width = shown.shape
        here = None
        if places.spread is not None:  # (n, F, s): bring tokens to their positions; what is not there is no key
            full = shown.new_zeros(count, frames, places.spots, width)
            index = places.spread[..., None].expand(-1, -1, -1, width)
            here = shown.new_zeros(count, frames, places.spots, dtype=torch.bool).scatter(2, places.spread, True)
            shown = full.scatter(2, index, shown)
            here = here.transpose(1, 2).flatten(0, 1)
            # A position that every frame has dropped attends to filler; nothing of it is gathered again.
            here = here | ~here.any(dim=1, keepdim=True)
        by_spot = shown.transpose(1, 2).flatten(0, 1)
        found = self.attentions["temporal"](by_spot, positions=(places.times,), allowed=here, causal=self.causal)
        found = found.unflatten(0, (count, -1)).transpose(1, 2)
        return found if places.spread is None else found.gather(2, index)


class Places:
    """Positions of tokens in a video; those of frames are interpolated where it is longer than in training.

    Args:
        architecture: with the grid and the length of training.
        frames: of the video.
        kept: positions that are not dropped, int64 (n, F or 1, s); None: all.
        device: of the tokens.
    """

    def __init__(self, architecture: VideoArchitecture, frames: int, kept: Tensor | None, device: torch.device) -> None:
        grid = architecture.grid
        self.spots = grid * grid
        chosen = torch.arange(self.spots, device=device)[None] if kept is None else kept.expand(-1, frames, -1)
        chosen = chosen if kept is None else chosen.flatten(0, 1)
        self.rows, self.columns = chosen // grid, chosen % grid
        self.period = grid if architecture.rotary == "whole_turns" else None
        self.times = torch.arange(frames, device=device)[None] * min(1.0, architecture.frames / frames)
        self.spread = kept if kept is not None and kept.shape[1] == frames and frames > 1 else None


class VideoTransformer(nn.Module):
    """F(xₜ, text, t) → velocity of every frame.

    Args:
        architecture: numbers.
    """

    def __init__(self, architecture: VideoArchitecture) -> None:
        super().__init__()
        self.architecture = one = architecture
        numbers = one.patch**2 * 3
        self.enter = nn.Linear(numbers, one.width)
        self.text = TextEncoder(one.vocabulary, one.longest, one.width, one.heads, one.text_blocks)
        self.time = nn.Sequential(nn.Linear(one.width, one.width), nn.SiLU(), nn.Linear(one.width, one.width))
        self.modulation = nn.Linear(one.width, len(_BRANCHES) * 3 * one.width)
        self.blocks = nn.ModuleList(Block(one) for _ in range(one.blocks))
        self.last = norm(one.width, stateless=one.stateless_norm)
        self.last_change = nn.Linear(one.width, 2 * one.width)
        self.head = nn.Linear(one.width, numbers)
        for layer in (self.modulation, self.last_change, self.head):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        if one.image_by == "cross_attention":
            self.image = nn.Linear(one.patch**2 * 3, one.width)
            self.image_places = nn.Parameter(torch.randn(one.grid**2, one.width) * 0.02)

    def forward(
        self,
        videos: Tensor,
        times: Tensor,
        tokens: Tensor,
        *,
        kept: Tensor | None = None,
        image: Tensor | None = None,
        with_image: Tensor | None = None,
    ) -> Tensor:
        """Velocities float (n, F, 3, h, w); 0 where a position is dropped.

        Args:
            videos: xₜ, of the same shape.
            times: t, (n,).
            tokens: int64 (n, l); see :func:`~snellen.systems.text_image_to_video.architecture.tokens_of`.
            kept: positions that are not dropped, int64 (n, F or 1, s), sorted; None: all.
            image: of a network that takes it by cross-attention, (n, 3, h, w).
            with_image: whether each row has it, bool (n,).
        """
        one = self.architecture
        patches = cut(videos, one.patch)
        places = Places(one, patches.shape[1], kept, videos.device)
        shown = self.enter(patches)
        shown = shown if kept is None else gathered(shown, kept)
        context, allowed = self.text(tokens), tokens != 0
        moment = self.time(waves(times, one.width))
        if one.pooled_text:
            moment = moment + (context * allowed[..., None]).sum(dim=1)
        modulation = self.modulation(nn.functional.silu(moment)).unflatten(-1, (len(_BRANCHES), 3, one.width))
        context, allowed = self._with_image(context, allowed, image, with_image)
        for block in self.blocks:
            shown = block(shown, modulation, context, allowed, places)
        shift, scale = self.last_change(nn.functional.silu(moment))[:, None, None].chunk(2, dim=-1)
        found = self.head(self.last(shown) * (1 + scale) + shift)
        if one.head == "video":
            noisy = patches if kept is None else gathered(patches, kept)
            found = velocity_towards(found, noisy, times)
        found = found if kept is None else spread(found, kept, places.spots)
        return joined(found, one.patch, one.side)

    def _with_image(
        self, context: Tensor, allowed: Tensor, image: Tensor | None, with_image: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        if self.architecture.image_by != "cross_attention" or image is None:
            return context, allowed
        seen = self.image(cut(image[:, None], self.architecture.patch)[:, 0]) + self.image_places
        has = torch.ones(len(context), dtype=torch.bool) if with_image is None else with_image
        more = has.to(allowed.device)[:, None].expand(-1, seen.shape[1])
        return torch.cat([context, seen], dim=1), torch.cat([allowed, more], dim=1)


def cut(videos: Tensor, patch: int) -> Tensor:
    """Patches of videos: (n, F, c, h, w) → (n, F, s, numbers)."""
    found = videos.unflatten(-2, (-1, patch)).unflatten(-1, (-1, patch))
    return found.permute(0, 1, 3, 5, 2, 4, 6).flatten(4).flatten(2, 3)


def joined(patches: Tensor, patch: int, side: int) -> Tensor:
    """The inverse of :func:`cut` for square frames of this side."""
    grid = side // patch
    found = patches.unflatten(2, (grid, grid)).unflatten(-1, (-1, patch, patch))
    return found.permute(0, 1, 4, 2, 5, 3, 6).flatten(3, 4).flatten(4, 5)


def gathered(patches: Tensor, kept: Tensor) -> Tensor:
    """Patches (n, F, s, k) at some positions (n, F or 1, s')."""
    index = kept.expand(-1, patches.shape[1], -1)[..., None].expand(-1, -1, -1, patches.shape[-1])
    return patches.gather(2, index)


def spread(patches: Tensor, kept: Tensor, spots: int) -> Tensor:
    """Patches of some positions among all, 0 elsewhere: the inverse of :func:`gathered`."""
    index = kept.expand(-1, patches.shape[1], -1)[..., None].expand(-1, -1, -1, patches.shape[-1])
    return patches.new_zeros(*patches.shape[:2], spots, patches.shape[-1]).scatter(2, index, patches)


def from_image_model(weights: Mapping[str, Tensor], network: VideoTransformer) -> VideoTransformer:
    """Give a new network of videos the weights of one of images; the network is changed and returned.

    The temporal layers keep their own weights, and gates of 0: each frame comes out as the image model makes it.
    """
    own = dict(network.state_dict())
    branch = _BRANCHES.index("temporal")
    for name, value in weights.items():
        if name in own and own[name].shape == value.shape:
            own[name] = value.clone()
        else:
            raise ValueError(f"{name} is not in a video model of this architecture, or has another shape")
    for name, value in own.items():
        if name.startswith("modulation."):
            value.unflatten(0, (len(_BRANCHES), 3, -1))[branch, 2] = 0
        elif name.endswith(".offsets"):
            value[branch, 2] = 0
    network.load_state_dict(own)
    return network
