"""The two rules of guidance with their numbers, one for each row of a batch; which sides each needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.systems.guided_captions.caption_scores import classifier_free_scores, language_guided_scores, newlines_end

#: Who says what a caption is without the image: the captioner under the null condition, or a language model.
Unconditional = Literal["captioner", "language_model"]


class Rule(Protocol):
    """Makes scores of the next token of log-probabilities."""

    @property
    def needs_null(self) -> bool:
        """Whether the captioner is asked under the null condition too."""

    @property
    def needs_language(self) -> bool:
        """Whether a language model is asked."""

    def select(self, rows: Tensor) -> Rule:
        """The rule for the rows with these indices (m,), in this order."""

    def scores(self, conditional: Tensor, null: Tensor | None, language: Tensor | None) -> Tensor:
        """Log-probabilities with the image, under the null condition, and of the language model (n, v) → (n, v)."""


@dataclass(frozen=True, eq=False)
class ClassifierFree:
    """Classifier-free guidance with one γ for each row.

    Args:
        scale: γ ≥ 0, (n,); 1 is no guidance, 0 leaves the image out.
        unconditional: who says p(x). "language_model" is for captioners that were never fine-tuned with dropped
            conditions; it is not in the paper, which always asks the captioner.

    Raises:
        InputError: a scale that is negative or not finite.
    """

    scale: Tensor
    unconditional: Unconditional = "captioner"

    def __post_init__(self) -> None:
        if not bool((torch.isfinite(self.scale) & (self.scale >= 0)).all()):
            raise InputError(f"a scale of guidance is a finite number of at least 0; got {self.scale.tolist()[:5]}")

    @property
    def _guided(self) -> bool:
        return bool((self.scale != 1).any())

    @property
    def needs_null(self) -> bool:
        """Only where some row is guided: γ = 1 costs what plain decoding costs."""
        return self._guided and self.unconditional == "captioner"

    @property
    def needs_language(self) -> bool:
        """Only where it is the unconditional side, and some row is guided."""
        return self._guided and self.unconditional == "language_model"

    def select(self, rows: Tensor) -> ClassifierFree:
        """The scales of these rows."""
        return replace(self, scale=self.scale[rows.to(self.scale.device)])

    def scores(self, conditional: Tensor, null: Tensor | None, language: Tensor | None) -> Tensor:
        """Equation 3."""
        unconditional = null if self.unconditional == "captioner" else language
        return conditional if unconditional is None else classifier_free_scores(conditional, unconditional, self.scale)


@dataclass(frozen=True, eq=False)
class LanguageGuided:
    """Guidance towards the style of a language model, with α and β for each row.

    Args:
        alpha: weight of log p with the image, (n,); at least β.
        beta: weight of log p without it, which is subtracted, ≥ 0, (n,).
        end: the end mark.
        newlines: tokens whose mass goes to the end mark (k,).

    Raises:
        InputError: numbers that are negative or not finite, α < β, or α = β = 0, which would not look at the image.
    """

    alpha: Tensor
    beta: Tensor
    end: int
    newlines: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))

    def __post_init__(self) -> None:
        pairs = torch.stack([self.alpha, self.beta])
        if not bool((torch.isfinite(pairs) & (pairs >= 0)).all()) or bool((self.alpha < self.beta).any()):
            raise InputError(f"language guidance takes alpha ≥ beta ≥ 0; got {_pairs(self.alpha, self.beta)}")
        if bool((self.alpha == 0).any()):
            raise InputError("alpha = 0 leaves the image out: the caption would be the language model's alone")

    needs_null = True
    needs_language = True

    def select(self, rows: Tensor) -> LanguageGuided:
        """The numbers of these rows."""
        return replace(self, alpha=self.alpha[rows.to(self.alpha.device)], beta=self.beta[rows.to(self.beta.device)])

    def scores(self, conditional: Tensor, null: Tensor | None, language: Tensor | None) -> Tensor:
        """Equation 4, and newlines end the caption."""
        assert null is not None and language is not None  # noqa: PT018 - one condition
        guided = language_guided_scores(language, conditional, null, self.alpha, self.beta)
        return newlines_end(guided, end=self.end, newlines=self.newlines)


def _pairs(alpha: Tensor, beta: Tensor) -> Sequence[tuple[float, float]]:
    return list(zip(alpha.tolist(), beta.tolist(), strict=True))[:5]
