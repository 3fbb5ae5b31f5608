"""Vectors of texts that were encoded before, as long as the weights that made them stay the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

#: Most texts that are kept; the oldest leave first.
LIMIT = 65_536


class TextMemory:
    """A memory from tokens to vectors that empties itself when the weights change.

    >>> version, calls = ["a"], []
    >>> def encode(rows):
    ...     calls.append(len(rows))
    ...     return torch.tensor([[float(sum(row))] for row in rows])
    >>> memory = TextMemory(lambda: version[0])
    >>> memory.vectors([[1, 2], [3], [1, 2]], encode).flatten().tolist()
    [3.0, 3.0, 3.0]
    >>> _ = memory.vectors([[3], [4]], encode)
    >>> version[0] = "b"
    >>> _ = memory.vectors([[3]], encode)
    >>> calls
    [2, 1, 1]

    Args:
        identity: the hash of the weights as they are now.
        limit: most texts that are kept.
    """

    def __init__(self, identity: Callable[[], str], *, limit: int = LIMIT) -> None:
        self._identity, self._limit = identity, limit
        self._made_by = ""
        self._known: dict[tuple[int, ...], Tensor] = {}

    def vectors(self, rows: Sequence[Sequence[int]], encode: Callable[[Sequence[Sequence[int]]], Tensor]) -> Tensor:
        """Rows of tokens → vectors (n, d); ``encode`` is asked once, for those that are not known."""
        if (now := self._identity()) != self._made_by:
            self._known, self._made_by = {}, now
        keys = [tuple(row) for row in rows]
        missing = [key for key in dict.fromkeys(keys) if key not in self._known]
        new = dict(zip(missing, encode(missing), strict=True)) if missing else {}
        vectors = torch.stack([new[key] if key in new else self._known[key] for key in keys])
        # Copies: a row of a batch would keep the whole batch alive.
        self._known |= {key: vector.clone() for key, vector in new.items()}
        for key in list(self._known)[: max(len(self._known) - self._limit, 0)]:
            del self._known[key]
        return vectors
