"""From a collection and class vectors to a label for every image: what the text–image model is sure of teaches a head
on self-supervised features, and the head labels all.

Imam et al., NoLA (arXiv 2411.19346), step 2, the DINO-based labelling network: linear, ReLU, linear; plain
cross-entropy, Adam.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.models.dual_encoders.towers import TwoTower
from snellen.models.dual_encoders.zero_shot import scaled_cosines
from snellen.systems.label_free_tuning.selection import (
    Selected,
    images_per_class,
    select_topk,
    tell_collapse,
    tell_few_images,
)
from snellen.training.acceleration import seeded
from snellen.training.batches import ImageStore
from snellen.training.loop import train
from snellen.training.plan import TrainingPlan

#: Of the paper's code; without decay, adamw is Adam.
HEAD_PLAN = TrainingPlan(epochs=50, batch_size=32, learning_rate=1e-3, weight_decay=0.0, schedule="constant")


class LabelHead(nn.Module):
    """Features (n, d) → logits (n, k) through one hidden layer.

    >>> LabelHead(8, 4, 3)(torch.zeros(2, 8)).shape
    torch.Size([2, 3])
    """

    def __init__(self, dim: int, hidden: int, class_count: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, class_count))

    def forward(self, features: Tensor) -> Tensor:
        """Score."""
        logits: Tensor = self.layers(features)
        return logits


def fit_label_head(
    features: Tensor,
    labels: Tensor,
    class_count: int,
    *,
    hidden: int = 256,
    plan: TrainingPlan = HEAD_PLAN,
    rng: Randomness,
    progress: Progress | None = None,
) -> LabelHead:
    """Train a head on the features of images with pseudo-labels; it comes back frozen.

    Args:
        features: float (m, d), of the chosen images.
        labels: their pseudo-labels, int64 (m,), in [0, class_count).
        class_count: number of classes k.
        hidden: width of the hidden layer.
        plan: numbers of the training; its seed is replaced by one of ``rng``.
        rng: seeds initial weights and order. progress: callback that receives progress updates.

    Raises:
        InputError: features and labels of different numbers, or a label out of range.
    """
    if features.ndim != 2 or labels.shape != features.shape[:1] or not len(labels):
        raise InputError(
            f"a head learns from features (m, d) and labels (m,) of m ≥ 1 images; got {tuple(features.shape)} and "
            f"{tuple(labels.shape)}"
        )
    if int(labels.min()) < 0 or int(labels.max()) >= class_count:
        raise InputError(f"labels are numbers from 0 to {class_count - 1}; got {int(labels.min())}…{int(labels.max())}")
    with seeded(rng.generator("label head").initial_seed(), torch.device("cpu")):
        head = LabelHead(features.shape[1], hidden, class_count)
    trained = train(
        head,
        ImageStore.of_tensors(features.float(), labels),
        plan=plan.model_copy(update={"seed": rng.generator("label head order").initial_seed() % 2**31}),
        progress=progress,
    )
    head.load_state_dict(dict(trained.weights))
    return head.eval().requires_grad_(False)


@torch.no_grad()
def hard_labels(head: nn.Module, features: Tensor, *, at_once: int = 4096) -> Tensor:
    """The class that a head gives each image: features (n, d) → int64 (n,)."""
    return torch.cat([head(part.float()).argmax(1) for part in features.split(at_once)])


@dataclass(frozen=True, eq=False)
class Teaching:
    """What teaches the student.

    Attributes:
        head: frozen.
        labels: of all images by the head, int64 (n,).
        selected: the images that the head learned from.
        per_class: k, images of each class at most.
        few: names of classes that the text–image model finds on very few images, which was warned of.
    """

    head: LabelHead
    labels: Tensor
    selected: Selected
    per_class: int
    few: tuple[str, ...]


@torch.no_grad()
def class_probabilities(
    tower: TwoTower, images: Tensor, vectors: Tensor, *, at_once: int = 256, progress: Progress | None = None
) -> Tensor:
    """Softmax of scaled cosines: prepared images, bytes (n, 3, h, w), and class vectors (k, d) → float32 (n, k)."""
    listener, found = progress or Silent(), []
    listener.begin("classifying by description", len(images))
    for part in images.split(at_once):
        scores = scaled_cosines(tower.encode_images(to_unit(part)), vectors, scale=tower.logit_scale)
        found.append(scores.softmax(1).float().cpu())
        listener.advance("classifying by description", len(part))
    listener.finish("classifying by description")
    return torch.cat(found)


def teach(
    probabilities: Tensor,
    features: Tensor,
    class_names: Sequence[str],
    *,
    rng: Randomness,
    share: float = 0.2,
    least: int = 16,
    most: int = 512,
    fallback_depth: int = 3,
    hidden: int = 256,
    plan: TrainingPlan = HEAD_PLAN,
    progress: Progress | None = None,
) -> Teaching:
    """Choose the surest images of each class, train a head on their features, and label all images.

    Args:
        probabilities: by the text–image model, float (n, k).
        features: of the same images by the self-supervised encoder, float (n, d).
        class_names: k of them.
        rng: of the head.
        share: of the images of a class of mean size that are chosen.
        least: of each class, at least, as far as there are.
        most: of each class, at most.
        fallback_depth: see :func:`~snellen.systems.label_free_tuning.selection.select_topk`.
        hidden: width of the head.
        plan: numbers of the head's training. progress: callback that receives progress updates.

    Raises:
        InputError: probabilities, features and names of different numbers, or fewer than two classes.
        ModelError: a class that nothing can be chosen for.
    """
    if len(probabilities) != len(features) or probabilities.shape[1:] != (len(class_names),):
        raise InputError(
            f"probabilities are (n, k) and features (n, d) of the same n images and k = {len(class_names)} classes; "
            f"got {tuple(probabilities.shape)} and {tuple(features.shape)}"
        )
    if len(class_names) < 2:
        raise InputError(f"there is one class, {class_names[0]!r}: nothing is to be told apart")
    k = images_per_class(len(features), len(class_names), share=share, least=least, most=most)
    tell_few_images(len(features), len(class_names), least)
    selected = select_topk(probabilities, k, fallback_depth=fallback_depth, class_names=class_names)
    few = tell_collapse(selected, class_names, k)
    head = fit_label_head(
        features[selected.positions],
        selected.labels,
        len(class_names),
        hidden=hidden,
        plan=plan,
        rng=rng,
        progress=progress,
    )
    return Teaching(head, hard_labels(head, features), selected, k, few)
