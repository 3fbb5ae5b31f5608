"""The student: an MLP on frozen embeddings, class-balanced cross-entropy, and margin sampling (stages D and E).

L = ½ mean over positives of softplus(−z) + ½ mean over negatives of softplus(z), z the logit of the concept. The next
images to label are those with the smallest margin |g(x) − ½|. The student sees embeddings alone: once trained, no
language model and no tool is needed.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import derive_seed
from snellen.models.encoders.head_on_encoder import InstanceHead
from snellen.training.acceleration import seeded

#: Rows of embeddings that are scored at once.
_ROWS = 65_536


class StudentFit(BaseModel):
    """Numbers of the training; ours, because the paper states none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(128, ge=1, description="units of the hidden layer")
    epochs: int = Field(200, ge=1, description="passes over the labels")
    batch_size: int = Field(64, ge=2, description="labels of one update")
    learning_rate: float = Field(1e-3, gt=0, description="of AdamW")
    weight_decay: float = Field(1e-4, ge=0, description="of AdamW")


def logit(head: InstanceHead, vectors: Tensor) -> Tensor:
    """The logit z of each vector: (n, d) → (n,), the score of the concept less that of its absence."""
    scores = head(vectors)
    return scores[:, 1] - scores[:, 0]


def balanced_weights(targets: Tensor) -> Tensor:
    """Weight of each label, (n,), with which both classes count the same, however many labels each has.

    >>> [round(weight, 3) for weight in balanced_weights(torch.tensor([1.0, 0.0, 0.0, 0.0])).tolist()]
    [2.0, 0.667, 0.667, 0.667]
    """
    share = targets.mean()
    return torch.where(targets > 0, 0.5 / share, 0.5 / (1 - share))


def balanced_cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """The equation above, (), of all labels; of a batch an estimate of it without bias.

    Args:
        logits: z, (n,).
        targets: 0 and 1, (n,).
        weights: of these labels, from :func:`balanced_weights` of all, (n,).
    """
    losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return (weights * losses).mean()


def fit_student(
    embeddings: Tensor,
    labels: Mapping[int, int],
    *,
    owner: Collection[int],
    fit: StudentFit,
    seed: int,
) -> InstanceHead:
    """Train from scratch on the machine's labels.

    Args:
        embeddings: of the whole pool, (n, d).
        labels: 0 or 1 by row, decided ones alone.
        owner: rows that the owner of the concept labelled; none of them may be among the labels.
        fit: numbers.
        seed: of initial weights and order.

    Raises:
        InputError: an image of the owner among the labels, or labels of one class.
    """
    mixed = sorted(set(labels) & set(owner))
    if mixed:
        raise InputError(
            f"{len(mixed)} images that the owner labelled are among those to train on (row {mixed[0]}); the owner's "
            f"labels choose and validate, and nothing is trained on these images"
        )
    if len(set(labels.values())) < 2:
        only = "no label" if not labels else f"{len(labels)} labels of one class ({next(iter(labels.values()))})"
        raise InputError(
            f"a classifier needs labels of both classes, and there is {only}; give other queries or a wider definition"
        )
    rows = sorted(labels)
    vectors, targets = embeddings[rows].float(), torch.tensor([float(labels[row]) for row in rows])
    draws = derive_seed(seed, "student")
    with seeded(draws, torch.device("cpu")):
        head = InstanceHead(vectors.shape[1], fit.width)
    head.standardise.fit(vectors)
    optimizer = torch.optim.AdamW(head.parameters(), lr=fit.learning_rate, weight_decay=fit.weight_decay)
    order = torch.Generator().manual_seed(draws % 2**63)
    weights = balanced_weights(targets)
    for _ in range(fit.epochs):
        for chosen in torch.randperm(len(rows), generator=order).split(fit.batch_size):
            optimizer.zero_grad()
            balanced_cross_entropy(logit(head, vectors[chosen]), targets[chosen], weights[chosen]).backward()
            optimizer.step()
    return head.eval().requires_grad_(False)


def logits(head: InstanceHead, embeddings: Tensor) -> NDArray[np.float64]:
    """Logit z of every row, float64 (n,), which never saturates; embeddings may lie on the disk."""
    parts = [
        logit(head, embeddings[start : start + _ROWS].float()).double() for start in range(0, len(embeddings), _ROWS)
    ]
    return torch.cat(parts).numpy()


def probabilities(head: InstanceHead, embeddings: Tensor) -> NDArray[np.float64]:
    """Probability g of every row, float64 (n,); embeddings may lie on the disk."""
    return torch.from_numpy(logits(head, embeddings)).sigmoid().numpy()


def with_threshold(head: InstanceHead, threshold: float) -> InstanceHead:
    """The same head with a threshold of the logit in its bias, so that its larger score decides."""
    moved = copy.deepcopy(head)
    with torch.no_grad():
        moved.scores.bias[1] -= threshold
    return moved


def smallest_margins(scores: NDArray[np.float64], count: int, *, without: Collection[int]) -> list[int]:
    """The rows with the smallest |g − ½|, the earlier one of equals first.

    >>> smallest_margins(np.array([0.1, 0.6, 0.45, 0.9]), 2, without=[2])
    [1, 0]

    Args:
        scores: g of every row, (n,).
        count: how many.
        without: rows that are labelled already, undecided ones included, and those of the owner.
    """
    barred = set(without)
    order = np.argsort(np.abs(scores - 0.5), kind="stable").tolist()
    return [row for row in order if row not in barred][:count]
