"""What a sentence encoder must offer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class TextEncoder(Protocol):
    """Sentences → vectors whose cosine tells how near their meanings are."""

    @property
    def name(self) -> str:
        """Shown in reports and messages."""

    @property
    def dimension(self) -> int:
        """Length d of a vector."""

    @property
    def context_length(self) -> int:
        """Most tokens of a text, the marks at its beginning and end included."""

    def identity(self) -> str:
        """Hash of the weights (sha256)."""

    def encode(self, texts: Sequence[str], *, normalised: bool = True, truncate: bool = False) -> Tensor:
        """Texts → vectors (n, d), of length one, or raw with ``normalised=False``; without gradients.

        ``truncate`` cuts texts that are too long.

        Raises:
            InputError: no texts, or one that is longer than the context; the message names it.
        """
