"""Choices from a seed, or always the first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Value = TypeVar("Value")

_BLOCK = 64


class PhraseChoices:
    """A series of choices that a seed decides; without a seed, each choice is the first.

    Numbers are drawn in blocks, because a call of the generator for each costs more than the caption around it.

    >>> PhraseChoices(None).one("abc"), PhraseChoices(3).one("abc") == PhraseChoices(3).one("abc")
    ('a', True)
    """

    def __init__(self, seed: int | None) -> None:
        self._rng = None if seed is None else np.random.default_rng(seed)
        self._block: list[float] = []

    def one(self, values: Sequence[Value]) -> Value:
        """One of several values, each as likely; the first without a seed."""
        return values[int(self.share() * len(values))]

    def share(self) -> float:
        """A number from 0 up to 1, evenly spread; 0 without a seed."""
        if self._rng is None:
            return 0.0
        if not self._block:
            self._block = self._rng.random(_BLOCK).tolist()
        return self._block.pop()

    def order(self, values: Sequence[Value]) -> list[Value]:
        """All values in an order that is as likely as any other; as they are without a seed."""
        left = list(values)
        return [left.pop(int(self.share() * len(left))) for _ in values]
