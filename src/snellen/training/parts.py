"""Examples that are read when training needs them, and parts of examples, without a copy of their pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from snellen.core.classifier import hash_tensors
from snellen.core.deep_picture import stack_pixels
from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet, Split
from snellen.core.preprocessing import Preprocessing
from snellen.training.batches import Examples

#: Threads that decode a batch.
_THREADS = 8


class Labelled(Examples, Protocol):
    """Examples whose targets are known without reading an image."""

    @property
    def targets(self) -> Tensor:
        """(n, ...)."""
        ...

    def __len__(self) -> int: ...


@dataclass(frozen=True, eq=False)
class StreamedImages:
    """Images that are decoded and prepared each time they are read, for sets that do not fit into memory.

    >>> import numpy as np
    >>> from snellen.data.files.arrays import load_arrays
    >>> images = load_arrays(np.zeros((3, 8, 8, 3), dtype=np.uint8), [0, 1, 0])
    >>> streamed = StreamedImages(images, Preprocessing(size=(4, 4), resize="exact", resize_to=(4, 4)))
    >>> [tuple(one.shape) for one in streamed.read(torch.tensor([2, 0]))]
    [(2, 3, 4, 4), (2,)]

    Args:
        images: labelled, for fitting; one that holds test images raises.
        preparation: gives all images the same size.

    Raises:
        InputError: an image without a label.
    """

    images: ImageSet
    preparation: Preprocessing
    rejected: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.images.for_fitting()
        lacking = next((row for row, label in enumerate(self.images.labels.tolist()) if label < 0), None)
        if lacking is not None:
            raise InputError(f"{self.images.name}: image {self.images.ids[lacking]!r} has no label; leave it out")

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Those of the images."""
        return tuple(self.images.ids)

    @cached_property
    def targets(self) -> Tensor:
        """Labels, int64 (n,)."""
        return torch.tensor(self.images.labels.tolist())

    @cached_property
    def weights(self) -> Tensor:
        """All 1, float32 (n,)."""
        return torch.ones(len(self.images))

    @property
    def split(self) -> Split | None:
        """That of the images."""
        return self.images.split

    def read(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Decode and prepare these images.

        Raises:
            InputError: one of them cannot be read.
        """
        with ThreadPoolExecutor(_THREADS) as threads:
            pixels = list(threads.map(self._pixels, positions.tolist()))
        return stack_pixels(pixels), self.targets[positions]

    def fingerprint(self) -> str:
        """Hash of ids and targets (sha256, hex); the pixels are not read for it."""
        return hash_tensors({"ids": _ids_tensor(self.ids), "targets": self.targets})

    def _pixels(self, position: int) -> Tensor:
        try:
            return self.preparation.pixels(self.images.read(position))
        except RejectedImageError as error:
            raise InputError(f"image {self.ids[position]!r} cannot be trained on: {error}; leave it out") from error


@dataclass(frozen=True, eq=False)
class Chosen:
    """Some examples of others.

    >>> from snellen.training.batches import ImageStore
    >>> store = ImageStore.of_tensors(torch.zeros(3, 3, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 2]))
    >>> Chosen(store, torch.tensor([2, 0])).read(torch.tensor([0]))[1].tolist()
    [2]

    Args:
        examples: any.
        positions: of the chosen ones, int64 (m,).
        given: targets instead of their own, (m, ...).
    """

    examples: Labelled
    positions: Tensor
    given: Tensor | None = None

    def __post_init__(self) -> None:
        if not len(self.positions):
            raise InputError("a training needs at least one example, got none")

    def __len__(self) -> int:
        return len(self.positions)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Those of the chosen ones."""
        return tuple(self.examples.ids[position] for position in self.positions.tolist())

    @cached_property
    def targets(self) -> Tensor:
        """Those of the chosen ones, or the given ones."""
        return self.examples.targets[self.positions] if self.given is None else self.given

    @cached_property
    def weights(self) -> Tensor:
        """Those of the chosen ones."""
        return self.examples.weights[self.positions]

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
        return self.examples.read(self.positions[positions])[0], self.targets[positions]

    def fingerprint(self) -> str:
        """Hash of the examples and the choice (sha256, hex)."""
        own = hash_tensors({"positions": self.positions, "targets": self.targets})
        return hashlib.sha256(f"{self.examples.fingerprint()} {own}".encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class Weighted:
    """The same examples with other weights in the loss.

    >>> from snellen.training.batches import ImageStore
    >>> store = ImageStore.of_tensors(torch.zeros(2, 3, 2, 2, dtype=torch.uint8), torch.tensor([0, 1]))
    >>> Weighted(store, torch.tensor([0.0, 1.0])).weights.tolist()
    [0.0, 1.0]

    Args:
        examples: any.
        weights: of each, float32 (n,), at least 0 and not all 0; 0 leaves an example out.

    Raises:
        InputError: other weights.
    """

    examples: Labelled
    weights: Tensor

    def __post_init__(self) -> None:
        given = self.weights
        if given.shape != (len(self.examples),) or not bool(torch.isfinite(given).all()) or not float(given.sum()) > 0:
            raise InputError(f"weights of {len(self.examples)} examples are as many finite numbers, and not all 0")
        if float(given.min()) < 0:
            raise InputError(f"weights of examples are at least 0, got {float(given.min())}")

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def ids(self) -> tuple[str, ...]:
        """Those of the examples."""
        return self.examples.ids

    @property
    def targets(self) -> Tensor:
        """Those of the examples."""
        return self.examples.targets

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
        return self.examples.read(positions)

    def fingerprint(self) -> str:
        """Hash of the examples and the weights (sha256, hex)."""
        own = hash_tensors({"weights": self.weights})
        return hashlib.sha256(f"{self.examples.fingerprint()} {own}".encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class Together:
    """Examples of several kinds, one kind behind the other.

    Args:
        kinds: by a name that stands before each id.
        weights: of all of them in this order, float32 (n,).
    """

    kinds: Mapping[str, Labelled]
    weights: Tensor
    split: Split | None = None

    def __len__(self) -> int:
        return sum(len(one) for one in self.kinds.values())

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Name of the kind, a slash, and the id."""
        return tuple(f"{name}/{key}" for name, one in self.kinds.items() for key in one.ids)

    @cached_property
    def targets(self) -> Tensor:
        """Of all of them."""
        return torch.cat([one.targets for one in self.kinds.values()])

    @property
    def rejected(self) -> Mapping[str, str]:
        """Those of all kinds."""
        return {f"{name}/{key}": why for name, one in self.kinds.items() for key, why in one.rejected.items()}

    def read(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Images and targets of these positions, each read from its kind."""
        first, rows, found = 0, list[Tensor](), list[Tensor]()
        for one in self.kinds.values():
            inside = ((positions >= first) & (positions < first + len(one))).nonzero().flatten()
            if len(inside):
                rows.append(inside)
                found.append(one.read(positions[inside] - first)[0])
            first += len(one)
        return torch.cat(found)[torch.cat(rows).argsort()], self.targets[positions]

    def fingerprint(self) -> str:
        """Hash of all kinds and the weights (sha256, hex)."""
        parts = [one.fingerprint() for one in self.kinds.values()]
        return hashlib.sha256(" ".join([*parts, hash_tensors({"weights": self.weights})]).encode()).hexdigest()


def _ids_tensor(ids: Sequence[str]) -> Tensor:
    return torch.frombuffer(bytearray("\0".join(ids).encode()), dtype=torch.uint8)
