"""PCBM-h: a bottleneck with a way around it. A baseline, and no bottleneck any more.

Yuksekgonul et al., "Post-hoc Concept Bottleneck Models" (ICLR 2023, arXiv 2205.15480): the head on concepts is fitted
first and stays; a second head on the image vectors then learns what it leaves over, and their logits are added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from snellen.systems.concept_bottleneck.linear_head import PENALTIES, LinearHead, fit_linear_head


@dataclass(frozen=True, eq=False)
class ResidualHead:
    """Concept scores (n, N) and image vectors (n, d) → logits (n, k).

    Attributes:
        concepts: the head on scores, as it was without the other.
        residual: the head on vectors.
    """

    concepts: LinearHead
    residual: LinearHead

    def logits(self, scores: Tensor, vectors: Tensor) -> Tensor:
        """(n, N), (n, d) → (n, k), float64."""
        return self.concepts.logits(scores) + self.residual.logits(vectors)


def choose_residual_head(
    concepts: LinearHead,
    shown: tuple[Tensor, Tensor, Tensor],
    val: tuple[Tensor, Tensor, Tensor],
    *,
    penalties: Sequence[float] = PENALTIES,
) -> ResidualHead:
    """Fit the second head at each penalty and take the best on images held back.

    Args:
        concepts: the first head; it stays as it is.
        shown: scores (n, N), vectors (n, d) and labels (n,) of the training images.
        val: the same of the images held back, which look like those of the training.
        penalties: to choose among, at least one; of equals the strongest is taken.

    Raises:
        InputError: what :func:`~snellen.systems.concept_bottleneck.linear_head.fit_linear_head` refuses.
    """
    scores, vectors, labels = shown
    before, classes = concepts.logits(scores), len(concepts.bias)

    def fitted(penalty: float) -> ResidualHead:
        return ResidualHead(concepts, fit_linear_head(vectors, labels, classes, penalty=penalty, offset=before))

    def right(head: ResidualHead) -> float:
        return float((head.logits(val[0], val[1]).argmax(1) == val[2]).double().mean())

    return max((fitted(penalty) for penalty in sorted(penalties, reverse=True)), key=right)
