"""The two rules of guidance, one for each row of a batch, and how the scores of the next word are made of its sides.

Kornblith, Li, Wang and Nguyen, "Guiding image captioning models toward more specific captions", ICCV 2023, arXiv
2307.16686. Pure functions of logits; there is no model in here. The scale is that of
:mod:`snellen.models.diffusion.guidance`: 1 means no guidance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import torch
from torch import Tensor

from snellen.core.errors import InputError, ModelError


def classifier_free_scores(conditional: Tensor, unconditional: Tensor, scale: Tensor) -> Tensor:
    """Equation 3: f(x, 0) + γ (f(x, e) − f(x, 0)), which is log p(x) + γ log p(y | x) up to a constant.

    Written so that γ = 0 takes nothing of the image, and γ = 1 nothing of the unconditional side, to the bit. Logits
    and log-probabilities have the same argmax.

    >>> with_image, without = torch.tensor([[2.0, 0.0]]), torch.tensor([[3.0, 0.0]])
    >>> classifier_free_scores(with_image, without, torch.tensor([2.0]))
    tensor([[1., 0.]])

    Args:
        conditional: f(x, e), (n, v).
        unconditional: f(x, 0), (n, v).
        scale: γ of each row, (n,).
    """
    wide = scale.to(conditional)[:, None]
    return torch.where(wide == 1, conditional, unconditional + wide * (conditional - unconditional))


def language_guided_scores(
    language: Tensor, conditional: Tensor, unconditional: Tensor, alpha: Tensor, beta: Tensor
) -> Tensor:
    """Equation 4: log q(x_n | prompt, x_<n) + α log p(x_n | x_<n, y) − β log p(x_n | x_<n).

    q is the language model, p the captioner with and without the image. β ≥ 0 is subtracted (section 4.2 of the paper
    writes a negative number once). With q := p(x_n | x_<n) and α = β = γ it is classifier-free guidance (appendix A.2).

    Args:
        language: log q, (n, v); log-probabilities.
        conditional: log p with the image, (n, v).
        unconditional: log p without it, (n, v).
        alpha: α of each row, (n,).
        beta: β of each row, (n,).
    """
    return language + alpha.to(language)[:, None] * conditional - beta.to(language)[:, None] * unconditional


def newlines_end(scores: Tensor, *, end: int, newlines: Tensor) -> Tensor:
    """Give the mass of newline tokens to the end mark: a prompt of captions parts them by newlines.

    >>> newlines_end(torch.log(torch.tensor([[0.25, 0.25, 0.5]])), end=0, newlines=torch.tensor([1])).exp()
    tensor([[0.5000, 0.0000, 0.5000]])

    Args:
        scores: (n, v), as logarithms.
        end: the end mark.
        newlines: tokens (k,) that are new lines and nothing else; none leaves the scores as they are.
    """
    if not len(newlines):
        return scores
    moved = scores.clone()
    moved[:, end] = torch.cat([scores[:, [end]], scores[:, newlines]], 1).logsumexp(1)
    moved[:, newlines] = -torch.inf
    return moved


def plausible_only(scores: Tensor, conditional: Tensor, share: float) -> Tensor:
    """Leave out tokens with p(x | y) below ``share`` · max. An extension, not of the paper: high γ makes gibberish.

    Args:
        scores: (n, v).
        conditional: log p with the image, (n, v).
        share: in [0, 1]; 0 leaves out none.
    """
    if share == 0:
        return scores
    log_share = torch.tensor(share).log().to(conditional)
    return scores.masked_fill(conditional < conditional.amax(1, keepdim=True) + log_share, -torch.inf)


def newline_tokens(vocabulary: tuple[str, ...]) -> Tensor:
    """Tokens of a vocabulary that are new lines and nothing else: int64 (k,).

    Byte-level vocabularies write a new line as "Ċ", others as it is or as "<0x0A>".

    >>> newline_tokens(("a", "Ċ", "ĊĊ", "", "Ċa"))
    tensor([1, 2])
    """
    found = [n for n, piece in enumerate(vocabulary) if piece and not piece.replace("<0x0A>", "\n").strip("Ċ\n")]
    return torch.tensor(found, dtype=torch.long)


def check_finite(scores: Tensor, what: str) -> Tensor:
    """The scores, if no row holds NaN or infinity.

    Raises:
        ModelError: it does; the message says whose scores they are.
    """
    if not bool(torch.isfinite(scores).all()):
        raise ModelError(f"{what} gave logits that are not finite; check its weights, or run it in single precision")
    return scores


#: Who says what a caption is without the image: the captioner under the null condition, or a language model.
Unconditional = Literal["captioner", "language_model"]


class Rule(Protocol):
    """Makes scores of the next token of log-probabilities."""

    @property
    def needs_null(self) -> bool:
        """Whether the captioner runs under the null condition too."""

    @property
    def needs_language(self) -> bool:
        """Whether a language model runs."""

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
            conditions; it is not in the paper, which always uses the captioner.

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
        InputError: numbers that are negative or not finite, α < β, or α = β = 0, which would not use the image.
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
