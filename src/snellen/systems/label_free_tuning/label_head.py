"""The teacher: a small head on frozen self-supervised features, trained on pseudo-labels and then never again.

Imam et al., NoLA (arXiv 2411.19346), step 2, the DINO-based labelling network: linear, ReLU, linear; plain
cross-entropy, Adam.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
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
        rng: seeds initial weights and order.
        progress: hears of every step.

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
