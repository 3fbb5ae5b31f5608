"""What is trained on: the instances of bags, the bag of each, and the labels of the bags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from snellen.core.classifier import hash_tensors
from snellen.core.errors import InputError
from snellen.core.images import ImageSet, Split
from snellen.core.preprocessing import to_unit
from snellen.data.files.bags import Bags
from snellen.models.encoders.feature_store import FrozenFeatures
from snellen.training.batches import ImageStore


@dataclass(frozen=True, eq=False)
class BagInstances:
    """Instances in bags, ready for a training; the instance in row i is known as i to everything that remembers it.

    Args:
        inputs: of the network: vectors, float32 (n, d), or rows of the pixels of prepared images, uint8 (n, 3·h·w).
        of_bag: bag of each instance, int64 (n,).
        labels: 0 or 1 for each bag, int64 (b,); −1 where it is unknown.
        ids: of the instances.
        bag_ids: of the bags.
        split: of all of them.
        rejected: instances that cannot be used, id → reason.
    """

    inputs: Tensor
    of_bag: Tensor
    labels: Tensor
    ids: tuple[str, ...]
    bag_ids: tuple[str, ...]
    split: Split | None = None
    rejected: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.inputs)

    @classmethod
    def of(cls, images: ImageSet, features: FrozenFeatures, *, labelled: bool = True) -> BagInstances:
        """The usable images of a set by their features; labels of images are not read.

        Raises:
            InputError: what :meth:`snellen.data.files.bags.Bags.of` refuses; a bag without a usable image.
        """
        bags = Bags.of(images.unlabelled(), labelled=labelled)
        of_bag = bags.of_image[features.positions]
        counts = np.bincount(of_bag, minlength=len(bags))
        if not counts.all():
            empty = int(np.flatnonzero(counts == 0)[0])
            first = images.ids[int(bags.members[empty][0])]
            raise InputError(
                f"bag {bags.ids[empty]!r} of {images.name} has no usable image ({first}: "
                f"{features.rejected.get(first, 'no features')}); leave the bag out, or mend its images"
            )
        return cls(
            inputs=features.features,
            of_bag=torch.from_numpy(of_bag),
            labels=torch.from_numpy(bags.labels),
            ids=features.ids,
            bag_ids=bags.ids,
            split=images.split,
            rejected=features.rejected,
        )

    @property
    def instance_labels(self) -> Tensor:
        """Label of the bag of each instance, int64 (n,)."""
        return self.labels[self.of_bag]

    @cached_property
    def members(self) -> tuple[Tensor, ...]:
        """Rows of each bag, int64."""
        order = torch.argsort(self.of_bag, stable=True)
        return order.split(torch.bincount(self.of_bag, minlength=len(self.labels)).tolist())

    def standardised(self, mean: Tensor, deviation: Tensor) -> BagInstances:
        """The same with vectors of mean 0 and deviation 1, by the figures of the training instances."""
        return replace(self, inputs=(self.inputs - mean) / deviation)

    def read(self, rows: Tensor) -> Tensor:
        """Inputs of these instances, float32 (m, d); bytes of images in [0, 1]."""
        chosen = self.inputs[rows]
        return to_unit(chosen) if chosen.dtype == torch.uint8 else chosen

    def store(self, rows: Tensor | None = None) -> ImageStore:
        """Examples for the training loop: inputs, and as targets the number of each instance.

        Args:
            rows: only these instances, under the numbers that they have among all.
        """
        chosen = torch.arange(len(self)) if rows is None else rows
        return ImageStore(
            images=self.inputs if rows is None else self.inputs[rows],
            targets=chosen,
            ids=tuple(self.ids[row] for row in chosen.tolist()),
            weights=torch.ones(len(chosen)),
            split=self.split,
            rejected=self.rejected,
        )

    def fingerprint(self) -> str:
        """Hash of inputs, bags and labels (sha256, hex)."""
        names = "\0".join((*self.ids, *self.bag_ids))
        return hash_tensors(
            {
                "names": torch.frombuffer(bytearray(names.encode()), dtype=torch.uint8),
                "inputs": self.inputs,
                "of_bag": self.of_bag,
                "labels": self.labels,
            }
        )


def check_both_classes(instances: BagInstances, val: BagInstances | None) -> None:
    """Refuse bags of a training, or of its validation split, that are not of the classes 0 and 1, both among them.

    Raises:
        InputError: as above.
    """
    names = {0: "negative", 1: "positive", -1: "without label"}
    for bags, split in ((instances, "train"), (val, "val")):
        seen = set() if bags is None else set(bags.labels.tolist())
        if bags is not None and seen != {0, 1}:
            raise InputError(
                f"the {len(bags.labels)} bags of the {split} split are "
                f"{' and '.join(names.get(label, f'of class {label}') for label in sorted(seen))}; expected negative "
                f"ones (class 0) and positive ones (class 1)"
            )
