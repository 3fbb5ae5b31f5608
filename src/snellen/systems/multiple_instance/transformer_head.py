"""A head in which instances attend to each other, after TransMIL.

Shao, Bian, Chen, Wang, Zhang, Ji and Zhang, "TransMIL: transformer based correlated multiple instance learning for
whole slide image classification", NeurIPS 2021, arXiv 2106.00908. Written from the paper, with exact attention where
it has Nyström's approximation: bags of a few hundred instances need none.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from snellen.systems.multiple_instance.bag_head import BagHead, BagScores


class PositionPyramid(nn.Module):
    """PPEG: instances laid out in a square, convolved at three sizes, added to what they were.

    Args:
        width: of an instance.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(width, width, size, padding=size // 2, groups=width) for size in (7, 5, 3)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (b, s², width) → the same."""
        side = math.isqrt(tokens.shape[1])
        maps = tokens.transpose(1, 2).unflatten(2, (side, side))
        mixed = maps + sum(convolution(maps) for convolution in self.convolutions)
        return mixed.flatten(2).transpose(1, 2)


class SelfAttention(nn.Module):
    """x + attention(norm(x)), exact, of several heads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (b, t, width) → the same, and what the first token attends to, mean over the heads, (b, t)."""
        normed = self.norm(tokens)
        mixed, weights = self.attention(normed, normed, normed, need_weights=True)
        return tokens + mixed, weights[:, 0]


class TransformerHead(BagHead):
    """A class token among the instances: two layers of self-attention with positions between them.

    An instance speaks for positive by what the class token attends to in the last layer. Instances are filled up to a
    square by the first ones, once more, as in the paper; attention to an instance is the sum over its copies.

    Args:
        dim: length d of a vector.
        width: of the hidden layer, a multiple of ``heads``.
        heads: of the attention.
    """

    def __init__(self, dim: int, width: int, heads: int = 8) -> None:
        super().__init__(dim, width)
        self.class_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.first, self.second = SelfAttention(width, heads), SelfAttention(width, heads)
        self.positions = PositionPyramid(width)
        self.norm = nn.LayerNorm(width)
        self.scores = nn.Linear(width, 2)

    def bags(self, vectors: Tensor, present: Tensor) -> BagScores:
        """Scores of the class token; bags of several lengths go through one after the other."""
        if bool(present.all()):
            return self._of_one_length(vectors)
        logits, instances = [], torch.zeros(present.shape, device=vectors.device)
        for row, members in enumerate(present):
            scored = self._of_one_length(vectors[row, members][None])
            logits.append(scored.logits)
            instances[row, members] = scored.instances[0]
        return BagScores(torch.cat(logits), instances)

    def _of_one_length(self, vectors: Tensor) -> BagScores:
        hidden = self.hidden(self.standardise(vectors))
        count = hidden.shape[1]
        places = torch.arange(math.ceil(math.sqrt(count)) ** 2, device=hidden.device) % count
        tokens = torch.cat([self.class_token.expand(len(hidden), -1, -1), hidden[:, places]], 1)
        tokens, _ = self.first(tokens)
        tokens = torch.cat([tokens[:, :1], self.positions(tokens[:, 1:])], 1)
        tokens, attended = self.second(tokens)
        instances = torch.zeros_like(hidden[..., 0]).index_add(1, places, attended[:, 1:])
        # Times the length of the bag, so that 1 is what an instance among equals has in bags of any length.
        return BagScores(self.scores(self.norm(tokens[:, 0])), instances * count)
