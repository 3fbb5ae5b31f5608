"""Correcting concepts at test time: a person says what is there, and the head decides again.

A concept that a person marks as present gets the score of training images that show it most (95th percentile), one
marked as absent that of those that show it least (5th): Koh et al., "Concept Bottleneck Models" (ICML 2020, arXiv
2007.04612), section 5. Only the last layer is computed anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from snellen.core.errors import InputError, unknown_name

#: Percentiles of the training scores that stand for a concept that is not there, and for one that is.
ABSENT, PRESENT = 0.05, 0.95

_WORDS = {"present": True, "yes": True, "absent": False, "no": False}


def usual_scores(scores: Tensor) -> tuple[Tensor, Tensor]:
    """What training scores (n, N) are where a concept is absent (N,), and where it is present (N,)."""
    return torch.quantile(scores, ABSENT, dim=0), torch.quantile(scores, PRESENT, dim=0)


def corrected(scores: Tensor, said: Tensor, absent: Tensor, present: Tensor) -> Tensor:
    """Scores with what a person says in their place.

    >>> corrected(torch.tensor([[0.3, 0.4]]), torch.tensor([[1, -1]]), torch.zeros(2), torch.ones(2))
    tensor([[1.0000, 0.4000]])

    Args:
        scores: (n, N); they stay as they are.
        said: integers (n, N) or (N,): 1 where a concept is there, 0 where it is not, −1 where it is open.
        absent: (N,).
        present: (N,).
    """
    return torch.where(said < 0, scores, torch.where(said > 0, present, absent).to(scores))


def read_corrections(written: Sequence[str], phrases: Sequence[str]) -> dict[str, bool]:
    """Corrections of concepts, as ``PHRASE=present`` or ``PHRASE=absent``.

    >>> read_corrections(["a red object=present"], ["a red object", "striped"])
    {'a red object': True}

    Raises:
        UnknownNameError: a phrase that is none of the concepts.
        InputError: neither present nor absent, or a phrase twice.
    """
    found: dict[str, bool] = {}
    for text in written:
        phrase, equals, word = text.rpartition("=")
        phrase, word = phrase.strip(), word.strip().lower()
        if not equals or word not in _WORDS:
            raise InputError(f"a correction is written PHRASE=present or PHRASE=absent; got {text!r}")
        if phrase not in phrases:
            raise unknown_name("concept", phrase, phrases)
        if phrase in found:
            raise InputError(f"the concept {phrase!r} is corrected twice")
        found[phrase] = _WORDS[word]
    return found


def as_row(said: Mapping[str, bool], phrases: Sequence[str]) -> Tensor:
    """Corrections, for :func:`corrected`: int64 (N,)."""
    return torch.tensor([int(said[phrase]) if phrase in said else -1 for phrase in phrases])
