"""The pair of values whose two sums have the largest product, exactly and without a table of all pairs."""

from __future__ import annotations

import torch
from torch import Tensor

#: Values of the largest table of pairs that is made at once: 64 MiB in float32.
_TABLE = 2**24


def best_pairs(gains: Tensor, costs: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
    """Find for each image the pair p ≠ q with the largest (g_p + g_q) · (c_p + c_q), where both sums are positive.

    A value can only be in the best pair if its product with the best conceivable partner beats a pair that is known
    already; a table is made of these few values alone. Ties go to the earlier values.

    >>> gains = torch.tensor([[1.0, 2.0, 3.0, -1.0]])
    >>> costs = torch.tensor([[1.0, 1.0, -5.0, 9.0]])
    >>> pairs, exists = best_pairs(gains, costs, torch.ones(1, 4, dtype=torch.bool))
    >>> pairs.tolist(), exists.tolist()
    ([[1, 3]], [True])

    Args:
        gains: g, float (m, d).
        costs: c, float (m, d).
        free: bool (m, d), values that may be part of a pair.

    Returns:
        Pairs int64 (m, 2) in ascending order, and whether one exists, bool (m,); pairs of those without one mean
        nothing.
    """
    count, width = gains.shape
    if not count or width < 2:
        return gains.new_zeros((count, 2), dtype=torch.int64), free.new_zeros(count)
    gains, costs = (values.masked_fill(~free, -torch.inf) for values in (gains, costs))
    top_gain, top_cost = (values.topk(2, dim=1).values for values in (gains, costs))
    # The best partner of the best value is the second best one.
    partner_gain = torch.where(gains == top_gain[:, :1], top_gain[:, 1:], top_gain[:, :1])
    partner_cost = torch.where(costs == top_cost[:, :1], top_cost[:, 1:], top_cost[:, :1])
    bound = _product(gains + partner_gain, costs + partner_cost)
    promising = bound.topk(min(32, width), dim=1).indices
    known = _best_of_table(gains.gather(1, promising), costs.gather(1, promising))[0]
    # Rounding must not cut off the best pair itself.
    candidates = free & (bound > 0) & (bound >= known[:, None] * (1 - 1e-5))
    pairs = gains.new_zeros((count, 2), dtype=torch.int64)
    exists = free.new_zeros(count)
    widths = candidates.sum(1)
    # Images with as many candidates share a table: no image pays for its neighbour's.
    order = widths.argsort(stable=True)
    begin = 0
    while begin < count:
        end = begin + 1
        size = max(int(widths[order[begin]]), 2)
        while (
            end < count
            and int(widths[order[end]]) <= max(2 * size, 32)
            and ((end + 1 - begin) * int(widths[order[end]]) ** 2 <= _TABLE)
        ):
            end += 1
        rows = order[begin:end]
        size = min(max(int(widths[rows].max()), 2), width)
        # Candidates first, in the order of the values.
        chosen = (~candidates[rows]).to(torch.uint8).argsort(dim=1, stable=True)[:, :size]
        outside = ~candidates[rows].gather(1, chosen)
        found, first, second = _best_of_table(
            gains[rows].gather(1, chosen).masked_fill(outside, -torch.inf),
            costs[rows].gather(1, chosen).masked_fill(outside, -torch.inf),
        )
        pairs[rows] = torch.stack([chosen.gather(1, first[:, None]), chosen.gather(1, second[:, None])], 1).squeeze(2)
        exists[rows] = found > 0
        begin = end
    return pairs.sort(1).values, exists


def _product(gains: Tensor, costs: Tensor) -> Tensor:
    """The product where both are positive, else 0."""
    return torch.where((gains > 0) & (costs > 0), gains * costs, 0.0)


def _best_of_table(gains: Tensor, costs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Largest product of (m, s) values, and its row and column (m,): all s² pairs, by blocks of rows."""
    count, size = gains.shape
    best = gains.new_full((count,), -1.0)
    first, second = (torch.zeros(count, dtype=torch.int64, device=gains.device) for _ in range(2))
    block = max(_TABLE // max(count * size, 1), 1)
    for begin in range(0, size, block):
        part = slice(begin, min(begin + block, size))
        table = _product(gains[:, part, None] + gains[:, None], costs[:, part, None] + costs[:, None])
        own = torch.arange(part.start, part.stop, device=gains.device)
        table[:, own - begin, own] = -1.0
        values, places = table.flatten(1).max(1)
        better = values > best
        best = torch.where(better, values, best)
        first = torch.where(better, places // size + begin, first)
        second = torch.where(better, places % size, second)
    return best, first, second
