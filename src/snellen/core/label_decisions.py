"""Several labels an image: which of them scores give, above which probability, and one of them as two classes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.core.in_float64 import in_float64

#: What the scores of a model are.
Output = Literal["logits", "log-probabilities", "labels"]


def decided(scores: Tensor, output: Output, thresholds: Sequence[float] | None = None) -> Tensor:
    """Scores (n, k) as decisions 0 and 1, (n, k).

    >>> decided(torch.tensor([[-1.0, 1.0]]), "logits"), decided(torch.tensor([[-1.0, 1.0]]), "logits", [0.2, 0.8])
    (tensor([[0, 1]]), tensor([[1, 0]]))

    Args:
        scores: of n images and k labels.
        output: what they are.
        thresholds: probability above which each label is given, (k,); None: 0.5 each.
    """
    if thresholds is None:
        return (scores > {"logits": 0.0, "log-probabilities": math.log(0.5), "labels": 0.5}[output]).long()
    wide = in_float64(scores)
    at = torch.tensor(thresholds, dtype=torch.float64, device=wide.device)
    return (wide > (at.logit() if output == "logits" else at.log())).long()


def label_logits(scores: Tensor, output: Output) -> Tensor:
    """Scores of labels as logits log p − log (1 − p), of the same shape; of decisions 0 and 1, −1 and 1.

    >>> label_logits(torch.tensor([0.5, 0.9]).log(), "log-probabilities")
    tensor([0.0000, 2.1972])
    """
    if output == "logits":
        return scores
    if output == "labels":
        return 2 * scores - 1
    # A probability of 1 has no finite logit: 1 − p is at least the smallest step of float32 below 1.
    return scores - (-torch.expm1(scores)).clamp_min(torch.finfo(torch.float32).eps / 2).log()


def checked_thresholds(thresholds: Sequence[float], class_names: Sequence[str], output: Output) -> tuple[float, ...]:
    """Thresholds as they are kept.

    Raises:
        InputError: not one in (0, 1) for each label, or the model gives decisions only.
    """
    if output == "labels":
        raise InputError("thresholds are of probabilities, and this model gives decisions only; leave them out")
    found = tuple(float(one) for one in thresholds)
    if len(found) != len(class_names) or not all(0 < one < 1 for one in found):
        raise InputError(
            f"thresholds are probabilities in (0, 1), one for each of {len(class_names)} labels; got {found}"
        )
    return found


class OneLabel(nn.Module):
    """A model of several labels an image, made to score one of them: (n, 3, h, w) → (n, 2), without and with it.

    Args:
        model: gives scores (n, k).
        place: of the label.
        output: what the scores are.
        threshold: probability above which the label is given; the larger of the two scores is then the decision.
    """

    def __init__(self, model: nn.Module | Callable[[Tensor], Tensor], place: int, output: Output, threshold: float):
        super().__init__()
        self.model, self.place, self.output = model, place, output
        self.shift = math.log(threshold) - math.log1p(-threshold)

    def forward(self, images: Tensor) -> Tensor:
        """Scores 0 and the label's logit, less that of the threshold."""
        own = label_logits(self.model(images)[:, self.place], self.output)
        return torch.stack([torch.zeros_like(own), own - self.shift], 1)
