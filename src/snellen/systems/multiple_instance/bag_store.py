"""Bags for the training loop: padded to one length, with a column that says where they end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from snellen.core.images import Split
from snellen.systems.multiple_instance.bag_instances import BagInstances


@dataclass(frozen=True, eq=False)
class BagStore:
    """Bags as examples of the training loop: one example is one bag.

    ``read`` gives bags padded to one length, (n, m, d + 1), whose last column says which rows are instances, and their
    labels.
    """

    instances: BagInstances

    @property
    def ids(self) -> tuple[str, ...]:
        """Of the bags."""
        return self.instances.bag_ids

    @cached_property
    def weights(self) -> Tensor:
        """All 1."""
        return torch.ones(len(self.ids))

    @property
    def split(self) -> Split | None:
        """Of the instances."""
        return self.instances.split

    @property
    def rejected(self) -> Mapping[str, str]:
        """Instances that cannot be used."""
        return self.instances.rejected

    def read(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Padded bags and their labels."""
        members = [self.instances.members[bag] for bag in positions.tolist()]
        padded = torch.zeros(len(members), max(map(len, members)), self.instances.inputs.shape[1] + 1)
        for row, instances in enumerate(members):
            padded[row, : len(instances), :-1] = self.instances.read(instances)
            padded[row, : len(instances), -1] = 1
        return padded, self.instances.labels[positions]

    def fingerprint(self) -> str:
        """Of instances, bags and labels."""
        return self.instances.fingerprint()
