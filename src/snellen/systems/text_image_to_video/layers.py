"""Parts of the network: norms without state, rotary positions, attention of one axis, modulation.

Rotary positions: J. Su et al. 2021, RoFormer, eq. 34. A learned factor of normalised queries: A. Henry et al. 2020,
Query-Key Normalization. Stability after Z. Lin et al. 2024 (STIV): queries and keys are
normalised, and norms stand in front of *and* behind each attention and MLP, without learned scales.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Periods of the lowest rotary frequency, as usual.
_BASE = 10_000.0

#: What learned factors of queries begin with.
_FIRST_SCALE = 2.0


def norm(width: int, *, stateless: bool) -> nn.LayerNorm:
    """A layer norm; a stateless one has no parameters."""
    return nn.LayerNorm(width, eps=1e-6, elementwise_affine=not stateless)


def rates(pairs: int, period: int | None = None) -> Tensor:
    """Angles by which pairs of numbers turn from one position to the next, float32 (pairs,).

    Args:
        pairs: number.
        period: positions of a whole turn of the slowest pair, the others turn 2, 3, … times as fast, so that positions
            of this distance are one; None: one radian, and ever less, as usual.

    >>> (rates(3, 4) / math.tau).tolist()
    [0.25, 0.5, 0.25]
    """
    numbers = torch.arange(pairs)
    if period is None:
        return _BASE ** -(numbers / pairs)
    return (numbers % max(1, period // 2) + 1) * (math.tau / period)


def rotated(values: Tensor, positions: Tensor, period: int | None = None) -> Tensor:
    """Turn pairs of numbers by angles that grow with the position; products of two depend on their distance alone.

    >>> ones = torch.ones(1, 2, 4)
    >>> turned = rotated(ones, torch.tensor([[0.0, 3.0]]))
    >>> bool(torch.equal(turned[:, 0], ones[:, 0])), round(float(turned[0, 1].norm()), 4)
    (True, 2.0)

    Args:
        values: (..., s, d), d even.
        positions: (..., s), broadcast to it.
        period: see :func:`rates`.
    """
    half = values.shape[-1] // 2
    angles = positions[..., None].to(values.dtype) * rates(half, period).to(values)
    first, second = values[..., :half], values[..., half:]
    cosine, sine = angles.cos(), angles.sin()
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)


def rotated_2d(values: Tensor, rows: Tensor, columns: Tensor, period: int | None = None) -> Tensor:
    """The same in two dimensions: half of the numbers turn with the row, half with the column."""
    upper, lower = values.chunk(2, dim=-1)
    return torch.cat([rotated(upper, rows, period), rotated(lower, columns, period)], dim=-1)


def _placed(values: Tensor, positions: tuple[Tensor, ...], period: int | None) -> Tensor:
    """Heads (n, h, s, d) at positions in one or two dimensions, each (n or 1, s)."""
    if len(positions) == 1:
        return rotated(values, positions[0][:, None], period)
    rows, columns = positions
    return rotated_2d(values, rows[:, None], columns[:, None], period)


class Attention(nn.Module):
    """Attention with several heads over one sequence; the caller chooses which axis that is, and what positions do.

    Args:
        width: of tokens.
        heads: number.
        query_key_norm: whether queries and keys are normalised.
        query_scale: whether each head learns a factor of its normalised queries.
    """

    def __init__(self, width: int, heads: int, *, query_key_norm: bool, query_scale: bool = False) -> None:
        super().__init__()
        self.heads, self.query_key_norm = heads, query_key_norm
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        learned = query_key_norm and query_scale
        self.log_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(_FIRST_SCALE))) if learned else None

    def forward(
        self,
        tokens: Tensor,
        context: Tensor | None = None,
        *,
        positions: tuple[Tensor, ...] = (),
        period: int | None = None,
        allowed: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        """Tokens (n, s, d) that attend to a context (n, k, d), by default to themselves → (n, s, d).

        Args:
            tokens: with the queries.
            context: with keys and values.
            positions: one or two of (n or 1, s), for rotary positions in one or two dimensions.
            period: of these positions; see :func:`rates`.
            allowed: keys that may be attended to, bool (n, k); None: all.
            causal: attend to earlier tokens and themselves alone.
        """
        queries = self._split(self.query(tokens))
        keys, values = (
            self._split(part) for part in self.key_value(tokens if context is None else context).chunk(2, -1)
        )
        if self.query_key_norm:
            queries, keys = (F.layer_norm(one, one.shape[-1:], eps=1e-6) for one in (queries, keys))
        if self.log_scale is not None:
            queries = queries * self.log_scale.exp()
        if positions:
            queries, keys = (_placed(one, positions, period) for one in (queries, keys))
        mask = None if allowed is None else allowed[:, None, None, :]
        if mask is not None and causal:
            mask = mask & torch.ones(queries.shape[-2], keys.shape[-2], dtype=torch.bool, device=mask.device).tril()
        found = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, is_causal=causal and mask is None)
        return self.out(found.transpose(1, 2).flatten(2))

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def mlp(width: int) -> nn.Sequential:
    """Two layers, four times as wide between them."""
    return nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))


def waves(times: Tensor, width: int) -> Tensor:
    """Times (n,) in [0, 1] as sines and cosines (n, width)."""
    rates = torch.exp(torch.linspace(0, 1, width // 2, device=times.device) * 6.9) * 0.5
    angles = times.float()[:, None] * rates * 2
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class TextEncoder(nn.Module):
    """Learned vectors of words, and a few blocks of attention over them.

    Args:
        vocabulary: ids.
        longest: tokens of a text.
        width: of the network.
        heads: of attention.
        blocks: number.
    """

    def __init__(self, vocabulary: int, longest: int, width: int, heads: int, blocks: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width)
        self.places = nn.Parameter(torch.zeros(longest, width))
        self.attentions = nn.ModuleList(Attention(width, heads, query_key_norm=True) for _ in range(blocks))
        self.mlps = nn.ModuleList(mlp(width) for _ in range(blocks))

    def forward(self, tokens: Tensor) -> Tensor:
        """Int64 (n, l), 0 for filler → (n, l, d)."""
        found, allowed = self.words(tokens) + self.places, tokens != 0
        for attention, layer in zip(self.attentions, self.mlps, strict=True):
            found = found + attention(F.layer_norm(found, found.shape[-1:]), allowed=allowed)
            found = found + layer(F.layer_norm(found, found.shape[-1:]))
        return F.layer_norm(found, found.shape[-1:])
