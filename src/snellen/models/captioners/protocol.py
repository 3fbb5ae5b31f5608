"""What a captioner, and a model that answers questions about images, must offer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from snellen.core.classifier import Normalization
from snellen.core.preprocessing import Preprocessing


@dataclass(frozen=True, eq=False)
class Captions:
    """Sentences for a batch of images.

    Attributes:
        texts: n sentences, without marks.
        log_probabilities: natural logarithm of the probability of each whole sentence, its end mark included; float32
            (n,). Of a sentence that was cut at ``max_tokens``, the probability of what there is.
        tokens: int64 (n, t): beginning, prompt, sentence, end mark; padded on the right.
        lengths: number of tokens of each sentence, its end mark included, beginning and prompt not; int64 (n,).
    """

    texts: tuple[str, ...]
    log_probabilities: Tensor
    tokens: Tensor
    lengths: Tensor


class DecoderCache(Protocol):
    """Keys and values of the tokens that a decoder has seen, row by row."""

    @property
    def length(self) -> int:
        """Number of tokens it holds for each row."""

    def select(self, rows: Tensor) -> DecoderCache:
        """The rows with these indices (m,), in this order: rows may leave, come twice, or change places.

        The cache it is called on must not be used any more.
        """


class Captioner(Protocol):
    """An autoregressive model p(text | image), and, with the null condition, p(text).

    The image enters through its *states* (n, s, w), which the decoder attends to. The null condition is zeros of that
    shape; how good p(text) is depends on whether the model was trained with it.
    """

    @property
    def name(self) -> str:
        """Shown in reports and messages."""

    @property
    def preparation(self) -> Preprocessing:
        """The model's own resize and crop."""

    @property
    def normalization(self) -> Normalization:
        """Mean and std that the model wants, applied inside."""

    @property
    def device(self) -> torch.device:
        """Where the model runs."""

    @property
    def module(self) -> nn.Module:
        """The whole network, frozen; a caller that trains it unfreezes it."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the loader found remarkable; shown in reports."""

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The pieces of text that tokens stand for, by their number; two models fit together if they are equal."""

    @property
    def end_token(self) -> int:
        """The token that ends a sentence."""

    @property
    def context_length(self) -> int:
        """Most tokens of a sentence, all marks included."""

    @property
    def state_shape(self) -> tuple[int, int]:
        """Number s and width w of an image's states."""

    def identity(self) -> str:
        """Hash of the weights as they are now (sha256)."""

    def encode(self, images: Tensor) -> Tensor:
        """Prepared images (n, 3, h, w) in [0, 1] → states (n, s, w); differentiable."""

    def null_condition(self, count: int) -> Tensor:
        """States without information about the image: zeros (count, s, w)."""

    def tokenise(self, texts: Sequence[str], *, ended: bool = True) -> list[Tensor]:
        """Texts → tokens (t,) of each: beginning, words, and the end mark where ``ended``.

        Raises:
            InputError: a text that is longer than the context.
        """

    def texts(self, tokens: Tensor) -> tuple[str, ...]:
        """Tokens (n, t) → texts, without marks."""

    def logits(
        self, tokens: Tensor, condition: Tensor | None, cache: DecoderCache | None = None
    ) -> tuple[Tensor, DecoderCache]:
        """Logits of the next token: whole prefix int64 (n, t), states (n, s, w) or None → (n, v), and the cache.

        ``tokens`` is always the whole prefix; those that the cache holds are not computed again. The cache that is
        given is used up: go on with the one that is returned. ``condition=None`` is the null condition.
        """

    def sequence_logits(self, tokens: Tensor, condition: Tensor | None) -> Tensor:
        """Logits after each token: int64 (n, t), states (n, s, w) or None → (n, t, v). Differentiable, for training."""

    def caption(self, images: Tensor, *, max_tokens: int = 30, prompt: str = "") -> Captions:
        """Decode greedily: prepared images (n, 3, h, w) in [0, 1] → sentences that begin with ``prompt``."""

    def score(self, images: Tensor | None, texts: Sequence[str]) -> Tensor:
        """Log-probability of each text for its image, end mark included: n images, n texts → (n,).

        ``images=None`` gives log p(text) under the null condition.
        """


class QuestionAnswerer(Protocol):
    """A model that answers a question about an image."""

    @property
    def name(self) -> str:
        """Shown in reports and messages."""

    @property
    def preparation(self) -> Preprocessing:
        """The model's own resize and crop."""

    @property
    def device(self) -> torch.device:
        """Where the model runs."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the loader found remarkable; shown in reports."""

    def identity(self) -> str:
        """Hash of the weights (sha256)."""

    def answer(self, images: Tensor, questions: Sequence[str], *, max_tokens: int = 10) -> tuple[str, ...]:
        """Prepared images (n, 3, h, w) in [0, 1] and n questions → n answers, decoded greedily.

        Raises:
            InputError: another number of questions than images, or a question that is too long.
        """

    def score(self, images: Tensor, questions: Sequence[str], answers: Sequence[str]) -> Tensor:
        """Log-probability of each of k answers for each image with its question, end mark included: (n, k)."""
