"""Mining: top-k images of positive and of near-miss queries by cosine, with the query that brought each (stage B).

For a query q the k images with the largest ⟨t(q), v(x)⟩ are taken, t and v the text and image towers, both of unit
length. Near misses are images that resemble the concept and do not belong to it. Embeddings are computed once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from snellen.core.errors import InputError
from snellen.systems.language_model_annotation.conversation import Conversation
from snellen.systems.language_model_annotation.definition import Definition

Side = Literal["positive", "near miss"]

#: Rows of embeddings that are compared at once.
_ROWS = 65_536


class Queries(BaseModel):
    """What images are searched by."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    positive: tuple[str, ...] = Field(min_length=1, description="captions of images of the concept, all different")
    near_misses: tuple[str, ...] = Field(
        min_length=1, description="captions of images that resemble the concept and do not belong to it"
    )

    @property
    def all(self) -> tuple[tuple[Side, str], ...]:
        """Every query with its side."""
        return (*(("positive", text) for text in self.positive), *(("near miss", text) for text in self.near_misses))


class Hit(BaseModel):
    """A query that brought an image: at which rank, from 1, and with which cosine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    side: Side
    query: str
    rank: int
    cosine: float


@dataclass(frozen=True)
class Mined:
    """Images that queries brought.

    Attributes:
        hits: by row of the embeddings, the best rank first.
    """

    hits: dict[int, tuple[Hit, ...]]

    def side(self, row: int) -> Side:
        """Which kind of query an image answers best."""
        return self.hits[row][0].side


def write_queries(definition: Definition, talk: Conversation, *, each: int = 10) -> Queries:
    """Queries for images of the concept, and for images that nearly belong to it.

    Raises:
        UnusableReplyError: replies without both, or with a query on both sides.
    """
    conditions = json.dumps({one.id: one.text for one in definition.conditions})
    return talk.request(
        f"Images of the concept {json.dumps(definition.name)} ({json.dumps(definition.description)}) are searched by "
        f"captions. It is defined by {conditions}. Write {each} captions of images that belong to it, varied in kind, "
        f"setting and style, and {each} captions of near misses: images that look alike and do not belong to it.",
        Queries,
        key="queries",
        check=check_queries,
    )


def check_queries(queries: Queries) -> None:
    """Refuse a query that stands on both sides, or is empty.

    Raises:
        InputError: as above.
    """
    both = sorted({text.casefold() for text in queries.positive} & {text.casefold() for text in queries.near_misses})
    if both:
        raise InputError(f"{both[0]!r} is a positive query and a near miss; a query has one side")
    if not all(text.strip() for _, text in queries.all):
        raise InputError("a query is empty; write a caption")


def topk(queries: Tensor, embeddings: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k nearest rows for each query: (q, d) and (n, d), any lengths → int64 (q, k) and cosines (q, k).

    Embeddings are read piece by piece, so that they may lie on the disk. Of equal cosines the earlier row comes first.

    >>> topk(torch.eye(2), torch.tensor([[0.0, 2.0], [3.0, 0.1], [1.0, 1.0]]), 1)[0].tolist()
    [[1], [0]]

    Raises:
        InputError: no queries, no rows, or vectors of another length.
    """
    if queries.ndim != 2 or not len(queries) or not len(embeddings) or queries.shape[1] != embeddings.shape[1]:
        raise InputError(f"top-k takes (q, d) and (n, d); got {tuple(queries.shape)} and {tuple(embeddings.shape)}")
    wanted, directions = min(k, len(embeddings)), F.normalize(queries.float(), dim=-1)
    values, rows = torch.empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.int64)
    for start in range(0, len(embeddings), _ROWS):
        part = directions @ F.normalize(embeddings[start : start + _ROWS].float(), dim=-1).T
        values = torch.cat([values, part], 1)
        rows = torch.cat([rows, torch.arange(start, start + part.shape[1]).expand(len(queries), -1)], 1)
        order = values.argsort(dim=1, descending=True, stable=True)[:, :wanted]
        values, rows = values.gather(1, order), rows.gather(1, order)
    return rows, values


def mine(queries: Queries, vectors: Tensor, embeddings: Tensor, *, k: int, without: Iterable[int] = ()) -> Mined:
    """The union of what all queries bring, with every query that brought an image.

    Args:
        queries: of both sides.
        vectors: of the queries in their order, (q, d).
        embeddings: of the images, (n, d).
        k: images of each query.
        without: rows that no query may bring: images that the owner labels.
    """
    barred = set(without)
    rows, cosines = topk(vectors, embeddings, k + len(barred))
    hits: dict[int, list[Hit]] = {}
    for (side, query), own, values in zip(queries.all, rows.tolist(), cosines.tolist(), strict=True):
        free = [(row, value) for row, value in zip(own, values, strict=True) if row not in barred][:k]
        for rank, (row, value) in enumerate(free, 1):
            hits.setdefault(row, []).append(Hit(side=side, query=query, rank=rank, cosine=round(value, 6)))
    best = {row: tuple(sorted(own, key=lambda one: (one.rank, -one.cosine))) for row, own in hits.items()}
    return Mined({row: best[row] for row in sorted(best)})


def initial_batch(mined: Mined, count: int) -> list[int]:
    """``count`` images, positives and near misses in turn, the best ranks first; all there are, if they are fewer."""
    order = sorted(mined.hits, key=lambda row: (mined.hits[row][0].rank, -mined.hits[row][0].cosine, row))
    sides: Sequence[list[int]] = [[row for row in order if mined.side(row) == side] for side in _SIDES]
    chosen: list[int] = []
    for place in range(max(map(len, sides), default=0)):
        chosen += [side[place] for side in sides if place < len(side)]
    return chosen[:count]


_SIDES: tuple[Side, ...] = ("positive", "near miss")
