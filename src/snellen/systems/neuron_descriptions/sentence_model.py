"""p(d): how usual a sentence is, for any unit. Hernandez et al., ICLR 2022 (arXiv 2201.11114), section 3.3."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snellen.systems.neuron_descriptions.vocabulary import Vocabulary


class SentenceModel(nn.Module):
    """An LSTM of two layers over words.

    Args:
        words: size of the vocabulary, marks included.
        embedding: width of a word; published 128.
        hidden: width of each layer; published 512.
        dropout: between the layers and before the last one; published 0.5.
        layers: published 2.
    """

    def __init__(
        self, words: int, *, embedding: int = 128, hidden: int = 512, dropout: float = 0.5, layers: int = 2
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, embedding)
        self.lstm = nn.LSTM(embedding, hidden, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)
        self.dropout, self.output = nn.Dropout(dropout), nn.Linear(hidden, words)

    def forward(self, rows: Tensor) -> Tensor:
        """Rows (n, t) → log-probabilities of every next word, (n, t − 1, w)."""
        states, _ = self.lstm(self.embedding(rows[:, :-1]))
        return self.output(self.dropout(states)).log_softmax(2)

    def step(self, tokens: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """One word: tokens (n,) → log-probabilities of the next (n, w), and the state, (layers, n, hidden) each."""
        states, after = self.lstm(self.embedding(tokens[:, None]), state)
        return self.output(self.dropout(states[:, 0])).log_softmax(1), after


@torch.no_grad()
def sentence_scores(model: SentenceModel, rows: Tensor, vocabulary: Vocabulary) -> Tensor:
    """How usual sentences are, log p(d) in nats: rows (n, t) → (n,). What follows the first stop counts nothing."""
    wanted = rows[:, 1:]
    found = model(rows).gather(2, wanted[:, :, None])[:, :, 0]
    stops = (wanted == vocabulary.stop).long()
    counted = stops.cumsum(1) - stops == 0
    return (found * counted).sum(1)
