"""How many attributes of a scene a description finds, and how many it invents."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class AttributeScore:
    """Attributes of one description or, pooled, counts over many.

    Attributes:
        found: number that is predicted and true.
        invented: number that is predicted and not true.
        missed: number that is true and not predicted.
    """

    found: int
    invented: int
    missed: int

    @property
    def precision(self) -> float:
        """Share of the predicted that is true, in [0, 1]; 1 where nothing is predicted, for nothing is wrong."""
        predicted = self.found + self.invented
        return self.found / predicted if predicted else 1.0

    @property
    def recall(self) -> float:
        """Share of the true that is predicted, in [0, 1]; 1 where nothing is true, for nothing is missed."""
        true = self.found + self.missed
        return self.found / true if true else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of both, 2 · found / (2 · found + invented + missed); 1 where nothing is predicted or true."""
        total = 2 * self.found + self.invented + self.missed
        return 2 * self.found / total if total else 1.0


def attribute_f1(predicted: frozenset[str], true: frozenset[str]) -> AttributeScore:
    """Compare the attributes of one description with the true ones.

    >>> score = attribute_f1(frozenset({"star", "red", "big"}), frozenset({"star", "blue"}))
    >>> round(score.precision, 2), score.recall, score.f1
    (0.33, 0.5, 0.4)

    Args:
        predicted: such as :func:`snellen.data.worlds.optotypes.ontology.attributes` of a parsed caption.
        true: those of the scene.
    """
    return AttributeScore(found=len(predicted & true), invented=len(predicted - true), missed=len(true - predicted))


def pooled(scores: Iterable[AttributeScore]) -> AttributeScore:
    """Add up the counts of many descriptions (micro average): each attribute counts the same.

    >>> pooled([attribute_f1(frozenset("ab"), frozenset("a")), attribute_f1(frozenset(), frozenset("c"))]).recall
    0.5
    """
    found = invented = missed = 0
    for score in scores:
        found, invented, missed = found + score.found, invented + score.invented, missed + score.missed
    return AttributeScore(found=found, invented=invented, missed=missed)
