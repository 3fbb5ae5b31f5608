"""What stands beside a method without labels: probes on features that are given labels, some or all."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snellen.core.randomness import Randomness

#: Labels of each class in the few-shot reference.
SHOTS = 16

_STEPS, _RATE, _DECAY = 300, 1e-2, 1e-3


def linear_probe(features: Tensor, labels: Tensor, class_count: int) -> nn.Module:
    """Logistic regression on standardised features (n, d): whole-batch Adam with a small decay.

    >>> probe = linear_probe(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([0, 1]), 2)
    >>> probe(torch.tensor([[0.0, 2.0]])).argmax().item()
    0
    """
    mean, spread = features.mean(0), features.std(0).clamp_min(1e-6)
    layer = nn.Linear(features.shape[1], class_count)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimizer = torch.optim.Adam(layer.parameters(), _RATE, weight_decay=_DECAY)
    scaled = (features - mean) / spread
    for _ in range(_STEPS):
        optimizer.zero_grad()
        F.cross_entropy(layer(scaled), labels).backward()
        optimizer.step()

    class Probe(nn.Module):
        def forward(self, rows: Tensor) -> Tensor:
            with torch.no_grad():
                logits: Tensor = layer((rows - mean) / spread)
            return logits

    return Probe()


def cross_validated(features: Tensor, labels: Tensor, class_count: int, rng: Randomness, *, folds: int = 5) -> Tensor:
    """Scores of each image by a probe that was given the labels of the other folds alone: (n, k)."""
    fold = torch.randperm(len(labels), generator=rng.generator("folds")) % folds
    scores = torch.zeros(len(labels), class_count)
    for number in range(folds):
        held = fold == number
        scores[held] = linear_probe(features[~held], labels[~held], class_count)(features[held])
    return scores


def few_of_each(labels: Tensor, shots: int, rng: Randomness) -> Tensor:
    """Positions of up to ``shots`` images of each class, drawn at random: int64 (m,)."""
    order = torch.randperm(len(labels), generator=rng.generator("shots"))
    return torch.cat([order[labels[order] == number][:shots] for number in labels.unique().tolist()])


def select_globally(probabilities: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ablation of the selection: the ``count`` surest images of all classes together, and their likeliest classes.

    >>> select_globally(torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6]]), 2)
    (tensor([0, 1]), tensor([0, 0]))
    """
    surest = probabilities.max(1)
    positions = surest.values.argsort(descending=True, stable=True)[:count]
    return positions, surest.indices[positions]
