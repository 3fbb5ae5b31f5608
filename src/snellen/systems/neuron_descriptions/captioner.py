"""p(d | E): a sentence, word by word, from the regions that excite a unit.

Hernandez et al., ICLR 2022 (arXiv 2201.11114), section 3.2 and appendix: an LSTM that attends over the exemplars of a
unit, after Xu et al., "Show, Attend and Tell", ICML 2015 (whose attention is over places of one image). Attention is
over exemplars, so that their order does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Regions:
    """Regions of n units.

    Attributes:
        vectors: (n, k, d), see :class:`snellen.systems.neuron_descriptions.region_encoder.RegionEncoder`.
        present: which of the k there are, bool (n, k); at least one of each unit.
    """

    vectors: Tensor
    present: Tensor

    def of(self, rows: Tensor | slice | Sequence[int]) -> Regions:
        """Regions of some of the units."""
        return Regions(self.vectors[rows], self.present[rows])


class CaptionState(NamedTuple):
    """What the captioner knows between two words: rows (n, hidden)."""

    hidden: Tensor
    cell: Tensor


class Prompt(NamedTuple):
    """What does not change from word to word: scaled vectors and their keys (n, k, ·), and which there are."""

    vectors: Tensor
    keys: Tensor
    present: Tensor


class RegionCaptioner(nn.Module):
    """The decoder.

    ``h0 = tanh(W_h mean(v))``, ``c0 = tanh(W_c mean(v))``; at each step ``α = softmax_j(w · tanh(W_q h + W_k v_j))``,
    ``z = σ(W_g h) ⊙ Σ_j α_j v_j``, then an LSTM cell of the last word and z, and ``softmax(W_o dropout(h))``.

    Args:
        features: d.
        words: size of the vocabulary, marks included.
        embedding: width of a word; published 128.
        hidden: width of the state; published 512.
        dropout: before the last layer; published 0.5.

    Vectors are scaled by ``centre`` and ``scale`` (d), buffers that training sets: features of different depths differ
    in size. The published decoder takes them as they are.
    """

    centre: Tensor
    scale: Tensor

    def __init__(
        self, features: int, words: int, *, embedding: int = 128, hidden: int = 512, dropout: float = 0.5
    ) -> None:
        super().__init__()
        attention = min(hidden, features)
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.first_hidden, self.first_cell = nn.Linear(features, hidden), nn.Linear(features, hidden)
        self.query, self.key = nn.Linear(hidden, attention), nn.Linear(features, attention)
        self.weight = nn.Linear(attention, 1)
        self.gate = nn.Linear(hidden, features)
        self.embedding = nn.Embedding(words, embedding)
        self.cell = nn.LSTMCell(embedding + features, hidden)
        self.dropout, self.output = nn.Dropout(dropout), nn.Linear(hidden, words)

    def prompt(self, regions: Regions) -> Prompt:
        """Prepare the regions of n units."""
        vectors = (regions.vectors - self.centre) / self.scale
        return Prompt(vectors, self.key(vectors), regions.present)

    def begin(self, prompt: Prompt) -> CaptionState:
        """State before the first word."""
        share = prompt.present.to(prompt.vectors) / prompt.present.sum(1, keepdim=True).clamp(min=1)
        mean = torch.einsum("nk,nkd->nd", share, prompt.vectors)
        return CaptionState(torch.tanh(self.first_hidden(mean)), torch.tanh(self.first_cell(mean)))

    def step(self, prompt: Prompt, tokens: Tensor, state: CaptionState) -> tuple[Tensor, CaptionState, Tensor]:
        """One word: tokens (n,) → log-probabilities of the next (n, w), the state, and attention (n, k)."""
        energies = self.weight(torch.tanh(self.query(state.hidden)[:, None] + prompt.keys))[:, :, 0]
        attention = energies.masked_fill(~prompt.present, -torch.inf).softmax(1)
        seen = torch.sigmoid(self.gate(state.hidden)) * torch.einsum("nk,nkd->nd", attention, prompt.vectors)
        after = CaptionState(*self.cell(torch.cat([self.embedding(tokens), seen], 1), tuple(state)))
        return self.output(self.dropout(after.hidden)).log_softmax(1), after, attention

    def forward(self, regions: Regions, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Every next word of sentences: rows (n, t) → log-probabilities (n, t − 1, w), attention (n, t − 1, k)."""
        prompt = self.prompt(regions)
        state = self.begin(prompt)
        scores, attentions = [], []
        for place in range(rows.shape[1] - 1):
            found, state, attention = self.step(prompt, rows[:, place], state)
            scores.append(found)
            attentions.append(attention)
        return torch.stack(scores, 1), torch.stack(attentions, 1)


def caption_losses(
    log_probabilities: Tensor, attention: Tensor, rows: Tensor, present: Tensor, *, pad: int, weight: float = 1.0
) -> Tensor:
    """Mean negative log-likelihood of the words, and the penalty on exemplars that are seen too little or too much.

    ``NLL + weight · mean_j (1 − Σ_t α_tj)²`` (doubly stochastic attention, Xu et al. 2015, equation 14).

    Args:
        log_probabilities: (n, t − 1, w).
        attention: (n, t − 1, k).
        rows: (n, t).
        present: bool (n, k).
        pad: the token that counts nowhere.
        weight: of the penalty; published 1.

    Returns:
        (n,), nats per word.
    """
    nll = word_losses(log_probabilities, rows, pad=pad)
    told = (rows[:, 1:] != pad).to(attention)
    looked = torch.einsum("nt,ntk->nk", told, attention)
    penalty = ((1 - looked).square() * present).sum(1) / present.sum(1).clamp(min=1)
    return nll + weight * penalty


def word_losses(log_probabilities: Tensor, rows: Tensor, *, pad: int) -> Tensor:
    """Mean negative log-likelihood of the words behind the first, padding left out: (n, t − 1, w), (n, t) → (n,)."""
    wanted = rows[:, 1:]
    losses = F.nll_loss(log_probabilities.transpose(1, 2), wanted, reduction="none")
    told = (wanted != pad).to(losses)
    return (losses * told).sum(1) / told.sum(1).clamp(min=1)
