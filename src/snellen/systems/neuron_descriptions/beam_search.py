"""Beam search over many units at once: the beams of all units are rows of one batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from snellen.systems.neuron_descriptions.vocabulary import Vocabulary

#: Tokens (n · b,) of the last step, and for each row the row that it continues (None at first) → scores (n · b, w).
Step = Callable[[Tensor, Tensor | None], Tensor]


class Beams(NamedTuple):
    """The sentences that were kept.

    Attributes:
        tokens: int64 (n, b, t), beginning with start, padded behind stop; the best first.
        scores: sum of the scores of their words, (n, b); −inf where there is no such sentence.
    """

    tokens: Tensor
    scores: Tensor


def beam_search(step: Step, count: int, *, width: int, length: int, vocabulary: Vocabulary) -> Beams:
    """The sentences with the highest sums of scores, as far as a beam of this width finds them.

    A sentence that has ended stays in the beam at its score. Sums are not divided by the length.

    Args:
        step: scores of every next word for ``count · width`` rows, the beams of a unit side by side.
        count: units n.
        width: sentences that are kept of each, b; 1 is greedy.
        length: most words of a sentence, stop included.
        vocabulary: which tokens are marks; a sentence holds only stop of them.
    """
    device_rows = torch.arange(count)[:, None] * width
    sums = torch.full((count, width), -torch.inf)
    sums[:, 0] = 0.0  # all beams begin alike: only one of them may
    tokens = torch.full((count, width, 1), vocabulary.start, dtype=torch.int64)
    ended = torch.zeros(count, width, dtype=torch.bool)
    parents: Tensor | None = None
    for place in range(length):
        scores = step(tokens[:, :, -1].flatten(), parents).float().cpu().view(count, width, -1).clone()
        scores[:, :, [vocabulary.start, vocabulary.pad, vocabulary.unknown]] = -torch.inf
        if place == length - 1:  # a sentence that is too long is closed where it stands
            closed = scores[:, :, vocabulary.stop].clone()
            scores = torch.full_like(scores, -torch.inf)
            scores[:, :, vocabulary.stop] = closed
        only_pad = torch.full_like(scores, -torch.inf)
        only_pad[:, :, vocabulary.pad] = 0.0
        scores = torch.where(ended[:, :, None], only_pad, scores)
        # Sorted stably, so that of equal sums the beam and the word that come first win, on every machine.
        values, order = (sums[:, :, None] + scores).flatten(1).sort(dim=1, descending=True, stable=True)
        values, order = values[:, :width], order[:, :width]
        beams, words = order // scores.shape[2], order % scores.shape[2]
        sums = values
        tokens = torch.cat([tokens.gather(1, beams[:, :, None].expand(-1, -1, tokens.shape[2])), words[:, :, None]], 2)
        ended = ended.gather(1, beams) | (words == vocabulary.stop)
        parents = (device_rows + beams).flatten()
        if bool((ended | (sums == -torch.inf)).all()):
            break
    return Beams(tokens, sums)
