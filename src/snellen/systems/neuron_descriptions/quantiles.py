"""Quantiles of many streams at once, in memory that does not grow with their length.

Karnin, Lang and Liberty, "Optimal quantile approximation in streams", FOCS 2016 (arXiv 1603.05346), section 2, with
buffers of equal size. All streams are equally long, so that their buffers fill together and one sort serves them all.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from snellen.core.errors import InputError


class RunningQuantile:
    """A sketch of u streams.

    A buffer that is full is sorted, and every second value goes up one level, where it counts twice as much; whether
    the first or the second of each pair stays is drawn by the seed. The rank of an answer is off by about
    ``n / capacity`` of n values (one standard deviation); below ``capacity`` values it is exact.

    >>> sketch = RunningQuantile(1)
    >>> sketch.add(torch.arange(101.0)[None])
    >>> sketch.quantile(0.99).tolist(), sketch.count
    ([99.0], 101)

    Args:
        units: streams u.
        capacity: values that a buffer holds, even.
        seed: of the draws.
    """

    def __init__(self, units: int, *, capacity: int = 2048, seed: int = 0) -> None:
        if units < 1 or capacity < 2 or capacity % 2:
            raise InputError(f"a sketch takes at least one stream and an even capacity; got {units} and {capacity}")
        self.units, self.capacity, self.count = units, capacity, 0
        self._levels: list[Tensor] = []
        self._generator = torch.Generator().manual_seed(seed)

    def add(self, values: Tensor) -> None:
        """Take in the next values of each stream, float (u, m), all finite."""
        if values.ndim != 2 or len(values) != self.units:
            raise InputError(
                f"a sketch of {self.units} streams takes values ({self.units}, m); got {tuple(values.shape)}"
            )
        self.count += values.shape[1]
        # In pieces, so that what is fed at once does not change what is kept.
        room = self.capacity - (self._levels[0].shape[1] if self._levels else 0)
        first = 0
        while first < values.shape[1]:
            piece = values[:, first : first + room]
            first += piece.shape[1]
            self._enter(0, piece.to("cpu", torch.float32))
            room = self.capacity - self._levels[0].shape[1]

    def quantile(self, share: float) -> Tensor:
        """The value below or at which this share of each stream lies, float32 (u,).

        Raises:
            InputError: a share outside [0, 1], or nothing was taken in.
        """
        if not 0 <= share <= 1 or not self.count:
            raise InputError(f"a share in [0, 1] of at least one value; got {share} of {self.count}")
        values = torch.cat(self._levels, 1)
        weights = torch.cat([torch.full((kept.shape[1],), float(2**level)) for level, kept in enumerate(self._levels)])
        ordered, order = values.sort(1)
        reached = weights.double()[order].cumsum(1)
        wanted = max(1.0, math.ceil(share * (self.count - 1)) + 1.0)
        place = (reached < wanted).sum(1).clamp(max=values.shape[1] - 1)
        return ordered.gather(1, place[:, None])[:, 0]

    @property
    def kept(self) -> int:
        """Values that are held for each stream."""
        return sum(level.shape[1] for level in self._levels)

    def _enter(self, level: int, values: Tensor) -> None:
        if level == len(self._levels):
            self._levels.append(values.new_empty(self.units, 0))
        self._levels[level] = torch.cat([self._levels[level], values], 1)
        if self._levels[level].shape[1] < self.capacity:
            return
        ordered = self._levels[level].sort(1).values
        self._levels[level] = ordered.new_empty(self.units, 0)
        offset = int(torch.randint(2, (1,), generator=self._generator))
        self._enter(level + 1, ordered[:, offset::2])
