"""Partition SHAP: Owen values over the halves of the halves of an image, where the score changes most first.

Lundberg's PartitionExplainer and Image masker in ``shap`` (MIT; Lundberg and Lee, "A unified approach to interpreting
model predictions", NIPS 2017), with both contexts of every half. Let f00 be the
score of a context and f11 that of the context with a block added. Of its halves L and R, f10 is the score with L added
and f01 that with R. The block's share goes to its halves: half of it by (f10 − f00, f11 − f10), half by (f11 − f01,
f01 − f00). The blocks with the largest |f11 − f00| · weight are divided first; what is not divided when the budget ends
spreads its share evenly over its pixels. The shares add up to f(image) − f(everything masked) at any budget.

``shap`` divides several blocks at a time, those that lead the queue at that moment, and the number depends on the size
of its batches: another batch, another map. Here blocks are divided one after the other (or ``together``, to compare),
always in the same order, for any batch. A batch is filled beforehand: with the blocks of other images, and with those
that lead the queue already, whose turn will come unless others overtake them. Queries that were not needed in the end
do not count against the budget and do not change the map; they do count as queries.

Blocks are the partition tree of the Image masker of ``shap``; a tree of rectangles needs no table, because the halves
of a rectangle follow from it.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.explanations.attributed import Attributed
from snellen.methods.explanations.by_map import MapExplanation
from snellen.methods.explanations.filling import Filling, FillName, filling
from snellen.methods.explanations.score import TargetScore


class Block(NamedTuple):
    """Rows top to bottom, columns left to right, channels first to last; the ends are not included."""

    top: int
    bottom: int
    left: int
    right: int
    first: int = 0
    last: int = 1

    @property
    def size(self) -> int:
        """Values in it."""
        return (self.bottom - self.top) * (self.right - self.left) * (self.last - self.first)

    def split(self, smallest: int = 1) -> tuple[Block, Block] | None:
        """Two halves, or None of a block that is not halved further.

        The longer edge is halved, rows where both are as long; channels last, when one pixel is left. An odd edge
        gives the first half one more, as in ``shap``.

        >>> upper, lower = Block(0, 3, 0, 2).split()
        >>> (upper.bottom, lower.top)
        (2, 2)

        Args:
            smallest: edges of this length and less are not halved, pixels.
        """
        high, wide = self.bottom - self.top, self.right - self.left
        if high >= wide and high > smallest:
            middle = self.top + (high + 1) // 2
            return self._replace(bottom=middle), self._replace(top=middle)
        if wide > smallest:
            middle = self.left + (wide + 1) // 2
            return self._replace(right=middle), self._replace(left=middle)
        if self.last - self.first > 1:
            middle = self.first + (self.last - self.first + 1) // 2
            return self._replace(last=middle), self._replace(first=middle)
        return None


class Union(NamedTuple):
    """Pixels of a block and of another union: a chain whose end many unions may share."""

    block: Block
    rest: Union | None = None

    def blocks(self) -> Iterator[Block]:
        """All blocks, the last one added first."""
        link: Union | None = self
        while link is not None:
            yield link.block
            link = link.rest


def painted(unions: list[Union | None], height: int, width: int, channels: int) -> NDArray[np.bool_]:
    """Which values belong to each union: (m, c, h, w), or (m, h, w) without channels (``channels`` 1); None: none."""
    masks = np.zeros((len(unions), channels, height, width), dtype=np.bool_)
    for mask, union in zip(masks, unions, strict=True):
        if union is not None:
            for top, bottom, left, right, first, last in union.blocks():
                mask[first:last, top:bottom, left:right] = True
    return masks[:, 0] if channels == 1 else masks


#: A block is queried in advance when its share is at least this part of the leading block's.
WORTH_ASKING = 1 / 16


def partition_shap(
    score: TargetScore,
    images: Tensor,
    filled: Filling,
    *,
    budget: int = 1000,
    smallest: int = 1,
    channels: bool = False,
    together: int = 1,
) -> Attributed:
    """Partition SHAP of prepared images: maps (n, h, w), or (n, 3, h, w) with ``channels``.

    Only scores are used, so any classifier will do. An image whose score is not finite somewhere on the way has no map.

    Args:
        score: the explained score, of all n images.
        images: (n, 3, h, w) in [0, 1].
        filled: what shows where a block is masked, bound to the images.
        budget: evaluations for each image, the whole and the masked image included; at least 2.
        smallest: edges of this length and less are not halved, pixels.
        channels: divide pixels into their channels at last, as ``shap`` does; needs a filling for single channels.
        together: blocks divided at the same time; ``shap`` with batches of b divides b / 2.

    Returns:
        maps; ``value`` and ``base`` are the scores of the image and of everything masked; ``gap`` is the error of
        rounding alone.

    Raises:
        InputError: a budget below 2, or another number that makes no sense.
    """
    if budget < 2 or smallest < 1 or together < 1:
        raise InputError(
            f"a budget of at least 2 evaluations is needed (the whole image and the masked one), and blocks of at "
            f"least 1: got budget={budget}, smallest={smallest}, together={together}"
        )
    depth = 3 if channels else 1
    height, width = images.shape[-2:]
    root = Block(0, height, 0, width, 0, depth)
    divisions = [_Division(root, (budget - 2) // 2, smallest, together) for _ in images]
    whole = Union(root)

    def scored(questions: list[tuple[int, Union | None]]) -> list[float]:
        """Scores of (image, what is kept), in passes that the score's chunk fills."""
        answers: list[float] = []
        for start in range(0, len(questions), score.chunk):
            some = questions[start : start + score.chunk]
            rows = torch.tensor([row for row, _ in some])
            kept = torch.from_numpy(painted([union for _, union in some], height, width, depth))
            answers += score.values(filled(rows, kept), rows).tolist()
        return answers

    with score.classifier.counting() as spent, torch.no_grad():
        base = torch.tensor(scored([(row, None) for row in range(len(images))]), dtype=torch.float64)
        value = score.of_images(images)
        for division, masked, full in zip(divisions, base.tolist(), value.tolist(), strict=True):
            division.start(whole, masked, full)
        while True:
            open_rows = [row for row, division in enumerate(divisions) if not division.done]
            if not open_rows:
                break
            share = max(score.chunk // 2 // len(open_rows), 1)
            pairs = [(row, node) for row in open_rows for node in divisions[row].wanted(share)]
            scores = scored([(row, kept) for row, node in pairs for kept in node.questions()])
            for place, (_, node) in enumerate(pairs):
                node.answers = (scores[2 * place], scores[2 * place + 1])
            for row in open_rows:
                divisions[row].advance()
    made = [division.shares(height, width, depth) for division in divisions]
    maps = torch.stack(made) if made else torch.zeros(0, depth, height, width, dtype=torch.float64)
    total = maps.flatten(1).sum(1)
    maps = (maps if channels else maps[:, 0]).float().to(images.device)
    least, largest = torch.tensor([division.extremes for division in divisions], dtype=torch.float64).view(-1, 2).T
    return Attributed.of(maps, value, base=base, spent=spent(), total=total, extremes=(least, largest))


@dataclass
class _Node:
    """A block to be divided within a context: scores without it and with it, and its weight among all contexts."""

    block: Block
    context: Union | None
    without: float
    with_it: float
    weight: float
    split: tuple[Block, Block] | None
    answers: tuple[float, float] | None = field(default=None)

    @property
    def share(self) -> float:
        return (self.with_it - self.without) * self.weight

    def questions(self) -> tuple[Union, Union]:
        """The context with the first half, and with the second."""
        assert self.split is not None
        return Union(self.split[0], self.context), Union(self.split[1], self.context)

    def children(self, smallest: int) -> list[_Node]:
        """Both halves, in the context without and in that with the other half."""
        assert self.split is not None
        assert self.answers is not None
        (first, second), (with_first, with_second) = self.split, self.answers
        added_first, added_second = self.questions()
        made = (
            (first, self.context, self.without, with_first),
            (second, self.context, self.without, with_second),
            (first, added_second, with_second, self.with_it),
            (second, added_first, with_first, self.with_it),
        )
        first_halves, second_halves = first.split(smallest), second.split(smallest)
        return [
            _Node(block, context, low, high, self.weight / 2, first_halves if block is first else second_halves)
            for block, context, low, high in made
        ]


class _Division:
    """The order in which the blocks of one image are divided; equal ones in the order in which they appeared."""

    def __init__(self, root: Block, left: int, smallest: int, together: int) -> None:
        self._root, self._left, self._smallest, self._together = root, left, smallest, together
        self._queue: list[tuple[float, int, _Node]] = []
        self._shares: dict[Block, float] = {}
        self._counter = 0
        self._finite = True
        self.extremes = (math.inf, -math.inf)  # least and largest score

    def start(self, whole: Union, masked: float, full: float) -> None:
        """Begin with the whole image; scores that are not finite end the matter."""
        self._put(_Node(whole.block, None, masked, full, 1.0, whole.block.split(self._smallest)))
        if self._left < 1:
            self._finish()

    @property
    def done(self) -> bool:
        return not self._queue

    def wanted(self, count: int) -> list[_Node]:
        """The blocks that lead the queue, as far as their halves are not known yet: ``count`` at most.

        Who leads is divided next. Of the others, only those whose turn will most likely come are queried in advance: of
        at least :data:`WORTH_ASKING` of the leader's share, and no more than half of what the budget has left.
        """
        leaders = min(self._together, self._left)
        leading = heapq.nsmallest(max(leaders, min(count, self._left // 2)), self._queue)
        least = leading[0][0] * WORTH_ASKING
        return [
            node
            for place, (minus_share, _, node) in enumerate(leading)
            if node.answers is None and (place < leaders or minus_share <= least)
        ]

    def advance(self) -> None:
        """Divide blocks in their order, as far as their halves are known."""
        while self._queue and self._left > 0:
            group = [heapq.heappop(self._queue) for _ in range(min(self._together, self._left, len(self._queue)))]
            if any(node.answers is None for _, _, node in group):
                for entry in group:
                    heapq.heappush(self._queue, entry)
                return
            self._left -= len(group)
            for _, _, node in group:
                for child in node.children(self._smallest):
                    self._put(child)
                    if not self._finite:
                        return
        self._finish()

    def shares(self, height: int, width: int, depth: int) -> Tensor:
        """The map, float64 (depth, h, w)."""
        made = torch.zeros(depth, height, width, dtype=torch.float64)
        if not self._finite:
            return made.fill_(torch.nan)
        for block, share in self._shares.items():
            made[block.first : block.last, block.top : block.bottom, block.left : block.right] += share / block.size
        return made

    def _put(self, node: _Node) -> None:
        if not math.isfinite(node.share):
            self._finite = False
            self._queue.clear()
            return
        least, largest = self.extremes
        self.extremes = (min(least, node.without, node.with_it), max(largest, node.without, node.with_it))
        if node.split is None:
            self._credit(node)
        else:
            self._counter += 1
            heapq.heappush(self._queue, (-abs(node.share), self._counter, node))

    def _credit(self, node: _Node) -> None:
        self._shares[node.block] = self._shares.get(node.block, 0.0) + node.share

    def _finish(self) -> None:
        for _, _, node in self._queue:
            self._credit(node)
        self._queue.clear()


class PartitionSHAP(MapExplanation):
    """Contributions of blocks to the score, halved where they matter: they add up at any budget.

    Any classifier that gives scores will do. What is not halved within the budget has one value throughout.

    >>> import torch
    >>> from torch import nn
    >>> classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2)), class_names=["a", "b"])
    >>> explained = PartitionSHAP(budget=40).explain(classifier, torch.rand(2, 3, 4, 4), torch.tensor([0, 1]))
    >>> bool((explained.figures["completeness_gap"] < 1e-9).all())
    True
    """

    name: ClassVar[str] = "partition_shap"

    fill: FillName = Field("blur", description="what shows where a block is masked; telea: inpainted from its edge")
    budget: int = Field(500, ge=2, description="evaluations for each image, the whole and the masked one included")
    smallest: int = Field(1, ge=1, description="edges of this length and less are not halved, pixels")

    def attribute(
        self, classifier: Classifier, images: Tensor, targets: Tensor, *, rng: Randomness | None = None
    ) -> Attributed:
        """``budget`` queries an image, and some in advance; see :meth:`MapExplanation.attribute`."""
        score, filled = self._score(classifier, targets), filling(self.fill, images)
        return partition_shap(score, images, filled, budget=self.budget, smallest=self.smallest)
