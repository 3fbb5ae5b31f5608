"""Lists of tokens to one tensor, and vectors of texts that were encoded before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from snellen.core.errors import InputError


def check_texts(texts: Sequence[str], *, name: str) -> None:
    """See that there are texts, and that they are strings.

    Raises:
        InputError: one string instead of a list, no texts, or something that is not a string.
    """
    if isinstance(texts, str):
        raise InputError(f"{name} takes a list of texts, got one string: pass [{texts[:40]!r}]")
    if not len(texts):
        raise InputError(f"{name} got no texts")
    for text in texts:
        if not isinstance(text, str):
            raise InputError(f"{name} takes texts, got a {type(text).__name__}")


def fit(
    rows: Sequence[Sequence[int]], texts: Sequence[str], *, context: int, truncate: bool, ended: bool = True, name: str
) -> list[list[int]]:
    """Token rows of at most ``context`` tokens; a row that is cut keeps its last token, the end mark, if ``ended``.

    >>> fit([[1, 5, 6, 7, 2]], ["a b c"], context=4, truncate=True, name="demo")
    [[1, 5, 6, 2]]

    Raises:
        InputError: a text that is longer, where ``truncate`` is off; the message names it.
    """
    fitted = []
    for row, text in zip(rows, texts, strict=True):
        if len(row) > context and not truncate:
            shown = text if len(text) <= 60 else f"{text[:57]}..."
            raise InputError(
                f"{name}: the text {shown!r} has {len(row)} tokens, and at most {context} fit; shorten it, or pass "
                f"truncate=True where that is offered"
            )
        cut = [*row[: context - 1], row[-1]] if ended and len(row) > context else row[:context]
        fitted.append(list(cut))
    return fitted


def rows_alike(rows: Sequence[Sequence[int]], together: int) -> Iterator[list[int]]:
    """Positions of rows of one length, at most ``together`` at a time, the shortest first.

    >>> list(rows_alike([[1, 2], [3], [4, 5], [6]], 8))
    [[1, 3], [0, 2]]
    """
    for length in sorted({len(row) for row in rows}):
        positions = [place for place, row in enumerate(rows) if len(row) == length]
        for start in range(0, len(positions), together):
            yield positions[start : start + together]


def pad(rows: Sequence[Sequence[int]], *, filler: int, length: int | None = None) -> tuple[Tensor, Tensor]:
    """Token rows padded on the right, to ``length`` or to the longest: int64 (n, t), and 1 where a token is (n, t).

    >>> pad([[1, 2], [3]], filler=0)[0].tolist()
    [[1, 2], [3, 0]]
    """
    width = length or max(len(row) for row in rows)
    tokens = torch.full((len(rows), width), filler, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for index, row in enumerate(rows):
        tokens[index, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[index, : len(row)] = 1
    return tokens, mask


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
        """Rows of tokens → vectors (n, d); ``encode`` is called once, for those that are not known."""
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
