"""Train a segmenter on label maps: cross-entropy of each pixel, on crops that are *never rescaled*.

arXiv 2511.19111: L = −(1/|P|) Σ_p w_{y_p} log softmax(z_p)[y_p]; w may be the inverse frequency of a label, since
untouched pixels are most. The binary head has its own term. Rescaling would destroy what a decoder left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from snellen.core.errors import InputError
from snellen.core.progress import Progress
from snellen.core.randomness import derive_seed
from snellen.systems.edited_regions.labels import IGNORED
from snellen.systems.edited_regions.networks import RegionNetwork
from snellen.training.acceleration import seeded
from snellen.training.batches import Batch, ImageStore
from snellen.training.loop import Trained, train
from snellen.training.objectives import Objective
from snellen.training.plan import TrainingPlan


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images with their label maps, in memory.

    Attributes:
        images: bytes (n, 3, h, w).
        labels: uint8 (n, h, w).
        ids: of each.
    """

    images: Tensor
    labels: Tensor
    ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def edited(self) -> Tensor:
        """Whether any pixel was edited, bool (n,)."""
        return ((self.labels > 0) & (self.labels != IGNORED)).flatten(1).any(1)

    def select(self, chosen: Tensor) -> LabelledImages:
        """Some of the images: bool (n,) or positions."""
        rows = chosen.nonzero().flatten() if chosen.dtype == torch.bool else chosen
        return LabelledImages(self.images[rows], self.labels[rows], tuple(self.ids[row] for row in rows.tolist()))


def inverse_frequencies(labels: Tensor, classes: int, balance: float = 1.0) -> Tensor:
    """Weight of each label: (pixels over classes and its pixels) ^ balance, float32 (classes,); 0 where it has none.

    >>> inverse_frequencies(torch.tensor([[0, 0, 0, 1]], dtype=torch.uint8), 2).tolist()
    [0.666..., 2.0]
    """
    counts = torch.bincount(labels[labels != IGNORED].flatten().long(), minlength=classes).double()
    present = counts > 0
    weights = torch.where(present, (counts.sum() / (present.sum() * counts.clamp(min=1))) ** balance, 0.0)
    return weights.float()


def pixel_losses(
    logits: Tensor, edited: Tensor, labels: Tensor, weights: Tensor | None = None, *, binary_share: float = 0.5
) -> Tensor:
    """The loss of each image, (n,): cross-entropy of labels, and of the binary head, each a mean over judged pixels.

    Args:
        logits: (n, k, h, w).
        edited: logits of the binary head, (n, h, w).
        labels: int64 (n, h, w), 255 is not judged.
        weights: of each label, (k,).
        binary_share: weight of the binary term, in [0, 1]; the other has the rest.
    """
    judged = (labels != IGNORED).flatten(1)
    count = judged.sum(1).clamp(min=1)
    each = functional.cross_entropy(logits, labels, weight=weights, ignore_index=IGNORED, reduction="none").flatten(1)
    two = functional.binary_cross_entropy_with_logits(edited, (labels > 0).to(edited), reduction="none").flatten(1)
    two = torch.where(judged, two, 0.0)
    return (1 - binary_share) * each.sum(1) / count + binary_share * two.sum(1) / count


def cropped(
    images: Tensor, labels: Tensor, crop: int, rng: torch.Generator, *, flip: bool = True
) -> tuple[Tensor, Tensor]:
    """The same part of a batch of images and of their labels, pixel for pixel: nothing is ever rescaled.

    Args:
        images: (n, 3, h, w).
        labels: (n, h, w).
        crop: side of the part, pixels; sides that are shorter stay whole.
        rng: one place for the batch, and whether it is mirrored.
        flip: mirror half of the batches.
    """
    height, width = images.shape[2:]
    tall, wide = min(crop, height), min(crop, width)
    top = int(torch.randint(height - tall + 1, (), generator=rng))
    left = int(torch.randint(width - wide + 1, (), generator=rng))
    parts = images[:, :, top : top + tall, left : left + wide], labels[:, top : top + tall, left : left + wide]
    mirrored = flip and bool(torch.rand((), generator=rng) < 0.5)
    return (parts[0].flip(-1), parts[1].flip(-1)) if mirrored else parts


#: Distorts float images (n, 3, h, w) in [0, 1] before they are normalised.
Augmentation = Callable[[Tensor, torch.Generator], Tensor]


def objective_of(
    weights: Tensor | None, *, crop: int, binary_share: float = 0.5, augmentation: Augmentation | None = None
) -> Objective:
    """What the training loop minimises; see :func:`pixel_losses` and :func:`cropped`."""

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        rng = batch.rng.generator(f"crop {batch.epoch} {batch.rng.ids and batch.rng.ids[0]}")
        images, labels = cropped(batch.images, batch.targets.long(), crop, rng)
        if augmentation is not None:
            images = augmentation(images, rng)
        logits, edited = model(images)
        placed = None if weights is None else weights.to(logits)
        return pixel_losses(logits, edited, labels, placed, binary_share=binary_share)

    return objective


def new_network(architecture: str, editors: int, *, seed: int, width: int = 16) -> RegionNetwork:
    """An untrained segmenter whose weights the seed decides."""
    with seeded(derive_seed(seed, "edited regions", architecture), torch.device("cpu")):
        return RegionNetwork(architecture, editors, width=width)  # type: ignore[arg-type]


def fit_segmenter(
    network: RegionNetwork,
    examples: LabelledImages,
    *,
    plan: TrainingPlan,
    crop: int = 512,
    balance: float = 0.0,
    augmentation: Augmentation | None = None,
    checkpoint: Path | None = None,
    recipe: dict[str, object] | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train a copy of a segmenter; the given one stays as it is.

    Args:
        network: initial weights.
        examples: to train on.
        plan: all numbers of the training.
        crop: side of the crops, pixels.
        balance: exponent of the inverse frequencies that weigh the labels; 0: none, 1: the inverse frequency.
        augmentation: distorts the crops; without one, the network sees pixels as they are in the files.
        checkpoint: file to save to, and to go on from if it exists.
        recipe: what else defines this training.
        progress: callback that receives progress updates.

    Raises:
        InputError: no edited or no untouched pixel to learn from, images or crops that are too small for the network,
            or batches of one image for a network that normalises them.
    """
    side = min(*examples.images.shape[2:], crop)
    if side < network.least_side:
        raise InputError(
            f"{network.architecture} needs crops of {network.least_side} pixels at least; got {side}, the smaller of "
            f"the images and the crop (--crop)"
        )
    plan = _without_single(plan, len(examples), network)
    store = ImageStore.of_tensors(examples.images, examples.labels, ids=examples.ids)
    judged = examples.labels[examples.labels != IGNORED]
    if not bool((judged > 0).any()) or not bool((judged == 0).any()):
        raise InputError("the training images have no edited pixel, or no untouched one: both are needed")
    weights = inverse_frequencies(examples.labels, network.editors + 1, balance) if balance else None
    return train(
        network,
        store,
        plan=plan,
        objective=objective_of(weights, crop=crop, augmentation=augmentation),
        checkpoint=checkpoint,
        recipe=recipe or {},
        progress=progress,
    )


def _without_single(plan: TrainingPlan, count: int, network: RegionNetwork) -> TrainingPlan:
    """The plan without a last batch of one image, where a network normalises over a batch, which needs two."""
    if not any(isinstance(part, nn.BatchNorm2d) for part in network.modules()):
        return plan
    if plan.batch_size == 1 or count == 1:
        raise InputError(
            f"{network.architecture} normalises over the images of a batch and needs two at least; got {count} images "
            f"in batches of {plan.batch_size}"
        )
    return plan.model_copy(update={"drop_last": True}) if count % plan.batch_size == 1 else plan
