"""What training reads: examples prepared once and kept as bytes, and an order that follows from the seed alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from snellen.core.classifier import hash_tensors
from snellen.core.deep_picture import stack_pixels
from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet, Split
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness, derive_seed


class Examples(Protocol):
    """Anything that training can read."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Stable ids (n of them)."""
        ...

    @property
    def weights(self) -> Tensor:
        """Weight of each example in the loss, float32 (n,); 0 leaves an example out."""
        ...

    @property
    def split(self) -> Split | None:
        """The split that the examples are; ``test`` is refused by training."""
        ...

    @property
    def rejected(self) -> Mapping[str, str]:
        """Images that cannot be used: id → reason."""
        ...

    def read(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Images (m, ...), uint8 or float, and targets (m, ...) of these positions, int64 (m,)."""
        ...

    def fingerprint(self) -> str:
        """Hash of everything above (sha256, hex)."""
        ...


@dataclass(frozen=True, eq=False)
class Batch:
    """What an objective sees.

    Args:
        images: float32 (n, 3, h, w) in [0, 1], on the training device, after the transform.
        targets: class indices (n,), probabilities (n, k), or any other targets of the examples.
        weights: float32 (n,); the loop applies them, an objective need not.
        positions: int64 (n,), on the CPU: where the examples stand in the training set, to find anything else that is
            known of them (a teacher's scores, a group, a caption).
        rng: randomness of this step, bound to the examples' ids.
        epoch: pass over the training set, from 1.
    """

    images: Tensor
    targets: Tensor
    weights: Tensor
    positions: Tensor
    rng: Randomness
    epoch: int = 1


@dataclass(frozen=True, eq=False)
class ImageStore:
    """Examples in memory.

    >>> store = ImageStore.of_tensors(torch.zeros(4, 3, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 1, 0]))
    >>> images, targets = store.read(torch.tensor([2, 0]))
    >>> tuple(images.shape), targets.tolist()
    ((2, 3, 2, 2), [1, 0])

    Args:
        images: prepared images as bytes, uint8 (n, 3, h, w); or float (n, ...), passed on as they are (latents, images
            of 16 bits).
        targets: (n, ...).
        ids: n unique ids.
        weights: float32 (n,), finite, at least 0 and not all 0.
        split: the split that these examples are, if known.
        rejected: images of the source that could not be used, id → reason.
    """

    images: Tensor
    targets: Tensor
    ids: tuple[str, ...]
    weights: Tensor
    split: Split | None = None
    rejected: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        count = len(self.images)
        if not count:
            raise InputError("a training needs at least one example, got none")
        for name, length in (("targets", len(self.targets)), ("ids", len(self.ids)), ("weights", len(self.weights))):
            if length != count:
                raise InputError(f"{count} images came with {length} {name}")
        if len(set(self.ids)) != count:
            raise InputError("ids of examples must be unique")
        if self.weights.ndim != 1 or not bool(torch.isfinite(self.weights).all()) or float(self.weights.min()) < 0:
            raise InputError("weights of examples must be finite numbers (n,), at least 0")
        if not bool((self.weights > 0).any()):
            raise InputError("all examples have weight 0: nothing is left to train on")

    @classmethod
    def of_tensors(
        cls,
        images: Tensor,
        targets: Tensor,
        *,
        ids: Sequence[str] | None = None,
        weights: Tensor | None = None,
        split: Split | None = None,
    ) -> ImageStore:
        """Keep tensors; ids are positions and weights are 1 unless given."""
        return cls(
            images=images,
            targets=targets,
            ids=tuple(ids) if ids is not None else tuple(str(position) for position in range(len(images))),
            weights=weights.to(torch.float32) if weights is not None else torch.ones(len(images)),
            split=split,
        )

    @classmethod
    def of_images(
        cls,
        images: ImageSet,
        preparation: Preprocessing,
        *,
        targets: Tensor | None = None,
        weights: Tensor | None = None,
        progress: Progress | None = None,
    ) -> ImageStore:
        """Decode and prepare every image once.

        Args:
            images: a set for fitting; one that holds test images raises.
            preparation: gives all images the same size.
            targets: (n, ...), instead of the set's labels. Without both (also in a label-free view) targets are −1.
            weights: (n,); 1 by default.
            progress: callback that receives progress updates.

        Images that cannot be decoded, or that alone have no label, are left out and named in ``rejected``.

        Raises:
            InputError: test images; no usable image; images of different sizes after the preparation.
        """
        images, listener = images.for_fitting(), progress or Silent()
        labels = [-1] * len(images) if images.hidden else images.labels.tolist()
        needs_label = targets is None and not images.hidden and images.has_labels
        for name, given in (("targets", targets), ("weights", weights)):
            if given is not None and len(given) != len(images):
                raise InputError(f"{images.name} has {len(images)} images, but {len(given)} {name} came")
        pixels: list[Tensor] = []
        kept: list[int] = []
        rejected: dict[str, str] = {}
        listener.begin("prepare images", len(images))
        for position, example_id in enumerate(images.ids):
            listener.advance("prepare images", 1)
            if needs_label and labels[position] < 0:
                rejected[example_id] = "no label"
                continue
            try:
                prepared = preparation.pixels(images.read(position))
            except RejectedImageError as error:
                rejected[example_id] = str(error)
                continue
            if pixels and prepared.shape != pixels[0].shape:
                raise InputError(
                    f"image {example_id!r} is {tuple(prepared.shape)} after preparation, but the first one is "
                    f"{tuple(pixels[0].shape)}; give the preparation a size"
                )
            pixels.append(prepared)
            kept.append(position)
        listener.finish("prepare images")
        if not kept:
            raise InputError(f"none of the {len(images)} images of {images.name} can be used: {_named(rejected)}")
        chosen = torch.tensor(kept)
        return cls(
            images=stack_pixels(pixels),
            targets=torch.tensor(labels)[chosen] if targets is None else targets[chosen],
            ids=tuple(images.ids[position] for position in kept),
            weights=torch.ones(len(kept)) if weights is None else weights[chosen].to(torch.float32),
            split=images.split,
            rejected=rejected,
        )

    def __len__(self) -> int:
        return len(self.images)

    def read(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Images and targets of these positions."""
        return self.images[positions], self.targets[positions]

    def fingerprint(self) -> str:
        """Hash of ids, pixels, targets and weights (sha256, hex)."""
        ids = torch.frombuffer(bytearray("\0".join(self.ids).encode()), dtype=torch.uint8)
        return hash_tensors({"ids": ids, "images": self.images, "targets": self.targets, "weights": self.weights})


def epoch_order(examples: Examples, *, seed: int, epoch: int) -> Tensor:
    """Positions of the examples in the order of an epoch: int64 (m,), without those of weight 0."""
    used = examples.weights.nonzero().flatten()
    generator = torch.Generator().manual_seed(derive_seed(seed, "training", "order", epoch))
    return used[torch.randperm(len(used), generator=generator)]


def cut_steps(order: Tensor, *, batch_size: int, accumulate: int = 1, drop_last: bool = False) -> list[list[Tensor]]:
    """Cut an epoch into optimizer steps, each a list of up to ``accumulate`` batches of positions.

    >>> cut_steps(torch.arange(5), batch_size=2, accumulate=2)
    [[tensor([0, 1]), tensor([2, 3])], [tensor([4])]]
    """
    batches = [batch for batch in order.split(batch_size) if len(batch) == batch_size or not drop_last]
    return [batches[start : start + accumulate] for start in range(0, len(batches), accumulate)]


def load_batch(
    examples: Examples, positions: Tensor, rng: Randomness, device: torch.device, *, epoch: int = 1
) -> Batch:
    """Read examples and move them to a device; bytes become float32 in [0, 1] there."""
    images, targets = examples.read(positions)
    images = images.to(device, non_blocking=True)
    return Batch(
        images=to_unit(images) if images.dtype == torch.uint8 else images,
        targets=targets.to(device, non_blocking=True),
        weights=examples.weights[positions].to(device),
        positions=positions,
        rng=rng.for_examples([examples.ids[position] for position in positions.tolist()]),
        epoch=epoch,
    )


def _named(rejected: Mapping[str, str]) -> str:
    shown = [f"{example_id} ({reason})" for example_id, reason in list(rejected.items())[:3]]
    return ", ".join(shown) + (", …" if len(rejected) > 3 else "")
