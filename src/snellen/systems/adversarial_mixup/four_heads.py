"""Figures of all four heads of a training on blends: which number is whose must be said."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from snellen.core.errors import ModelError
from snellen.systems.adversarial_mixup.adversarial_mixing import AdversarialMixing
from snellen.training.batches import Examples
from snellen.training.evaluation import score_examples
from snellen.training.objectives import cross_entropy

#: Teacher or online classifier, head for clean images or for blends; the first is what is deployed.
HEADS = ("teacher_plain", "teacher_mixed", "online_plain", "online_mixed")


class _SideBySide(nn.Module):
    """Scores of the four heads, (n, 4 k), in the order of :data:`HEADS`."""

    def __init__(self, module: AdversarialMixing) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> Tensor:
        self.module.follow()
        teacher, online = self.module.teacher(images), self.module.online(images)
        return torch.cat([teacher.plain, teacher.mixed, online.plain, online.mixed], 1)


def four_heads(module: nn.Module, examples: Examples) -> Mapping[str, float]:
    """Figures on the tune split: an ``Evaluate`` of the training loop.

    Returns:
        ``accuracy`` and ``loss`` (mean cross-entropy in nats) of the head that is deployed; ``accuracy.HEAD`` of all
        four, ``accuracy.ensemble`` of the mean of their probabilities; ``skipped``, the iterations so far whose
        generator loss was not finite.

    Raises:
        ModelError: scores that are not finite.
    """
    assert isinstance(module, AdversarialMixing)
    scores, targets = score_examples(_SideBySide(module), examples)
    if not bool(torch.isfinite(scores).all()):
        raise ModelError("the model gives scores that are not finite")
    heads = dict(zip(HEADS, scores.chunk(len(HEADS), 1), strict=True))
    weights = examples.weights.double() / examples.weights.double().sum()
    truth = targets.argmax(1) if targets.ndim == 2 else targets

    def accuracy(of: Tensor) -> float:
        return float((weights * (of.argmax(1) == truth)).sum())

    deployed = heads[HEADS[0]]
    together = torch.stack([of.softmax(1) for of in heads.values()]).mean(0)
    return {
        "accuracy": accuracy(deployed),
        "loss": float((weights * cross_entropy(deployed, targets).double()).sum()),
        **{f"accuracy.{name}": accuracy(of) for name, of in heads.items()},
        "accuracy.ensemble": accuracy(together),
        "skipped": float(module.skipped),
    }
