"""Guided predictions brought back to the spread of the unguided ones.

Lin et al., *Common Diffusion Noise Schedules and Sample Steps Are Flawed*, WACV 2024 (arXiv 2305.08891), eq. 15 and 16:
much guidance makes predictions of a larger standard deviation than those that the network learned, and images too
light or too dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.models.diffusion.guidance import GuidanceTerm
from snellen.models.diffusion.step_view import Branch, StepView


def rescaled(guided: Tensor, conditional: Tensor, share: float) -> Tensor:
    """φ · guided · std(conditional) / std(guided) + (1 − φ) · guided, with one deviation for each sample.

    >>> rescaled(torch.tensor([[0.0, 4.0]]), torch.tensor([[0.0, 2.0]]), 0.5)
    tensor([[0., 3.]])

    Args:
        guided: (n, …).
        conditional: like ``guided``.
        share: φ in [0, 1].
    """
    wanted, found = (part.flatten(1).std(1) for part in (conditional, guided))
    # Written so that a sample whose deviation is right already is not touched to the bit.
    ratio = torch.where(found > 0, wanted / found, torch.ones_like(found))
    return guided * (1 + share * (ratio - 1)).view(-1, *(1,) * (guided.ndim - 1))


@dataclass(frozen=True, eq=False)
class Rescaled:
    """Terms, and what they make of the prediction rescaled. Terms that do nothing are not rescaled.

    Args:
        terms: guidance, all together.
        share: φ; 0 is the terms alone, 1 brings the deviation wholly back; the paper uses 0.7.

    Raises:
        InputError: a share outside [0, 1].
    """

    terms: Sequence[GuidanceTerm]
    share: float

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise InputError(f"guided predictions are rescaled by a share from 0 to 1; got {self.share}")

    def branches(self, view: StepView) -> Sequence[Branch]:
        """Those of the terms."""
        return [branch for term in self.terms for branch in term.branches(view)]

    def direction(self, view: StepView) -> Tensor | None:
        """From the prediction to the guided and rescaled one."""
        found = [term.direction(view) for term in self.terms]
        directions = [direction for direction in found if direction is not None]
        if not directions:
            return None
        total = directions[0]
        for direction in directions[1:]:
            total = total + direction
        if not self.share:
            return total
        return rescaled(view.prediction + total, view.prediction, self.share) - view.prediction
