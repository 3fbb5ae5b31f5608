"""Examples that repeat until a fixed number is reached: sets of any size are then trained on for as many updates.

Every example comes equally often, up to one. A repetition has an id of its own, so augmentation draws anew for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.images import Split
from snellen.training.batches import Examples


@dataclass(frozen=True, eq=False)
class Repeated:
    """Some examples as many, one pass behind the other.

    >>> from snellen.training.batches import ImageStore
    >>> store = ImageStore.of_tensors(torch.zeros(2, 3, 2, 2, dtype=torch.uint8), torch.tensor([0, 1]))
    >>> many = Repeated(store, 5)
    >>> many.ids, many.read(torch.tensor([0, 3]))[1].tolist()
    (('0', '1', '0#1', '1#1', '0#2'), [0, 1])

    Args:
        examples: any number of them.
        count: how many there are then; fewer than ``examples`` takes the first.

    Raises:
        InputError: a count below 1.
    """

    examples: Examples
    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError(f"a training needs at least one example; got {self.count}")

    def __len__(self) -> int:
        return self.count

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Ids, those of repetitions with their number behind."""
        own, size = self.examples.ids, len(self.examples.ids)
        return tuple(
            own[place % size] if place < size else f"{own[place % size]}#{place // size}" for place in range(self.count)
        )

    @cached_property
    def weights(self) -> Tensor:
        """Weight of each, float32 (count,)."""
        return self.examples.weights[self._own(torch.arange(self.count))]

    @property
    def split(self) -> Split | None:
        """That of the examples."""
        return self.examples.split

    @property
    def rejected(self) -> Mapping[str, str]:
        """Those of the examples."""
        return self.examples.rejected

    def read(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Images and targets of these positions."""
        return self.examples.read(self._own(positions))

    def fingerprint(self) -> str:
        """Hash of the examples and their number (sha256, hex)."""
        return hashlib.sha256(f"{self.examples.fingerprint()} {self.count}".encode()).hexdigest()

    def _own(self, positions: Tensor) -> Tensor:
        return positions % len(self.examples.ids)
