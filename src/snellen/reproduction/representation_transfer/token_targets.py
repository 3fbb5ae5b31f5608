"""Making a model say a given, harmless sentence, as two classes: something else (0), or the target (1)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from snellen.core.classifier import Classifier

#: What a model says, as classes.
SAID = ("something else", "the target")


def target_scores(logits: Tensor, target: Tensor) -> Tensor:
    """Scores of the two classes: 0, and the least margin of a target token over every other token.

    The second is positive exactly where greedy decoding says the target: each of its tokens, given those before, is
    the likeliest. What climbs it follows another slope: its gradient is that of the log-likelihood of the whole
    target, since the least margin alone knows of one token at a time.

    >>> logits = torch.tensor([[[3.0, 1.0], [0.0, 5.0]], [[3.0, 1.0], [2.0, 1.0]]])
    >>> target_scores(logits, torch.tensor([0, 1])).tolist()
    [[0.0, 2.0], [0.0, -1.0]]

    Args:
        logits: (n, t, v), before each token of the target.
        target: int64 (t,).
    """
    wanted = target.view(1, -1, 1).expand(len(logits), -1, 1)
    own = logits.gather(2, wanted)[..., 0]
    others = logits.scatter(2, wanted, -torch.inf).amax(2)
    margin = (own - others).amin(1)
    likelihood = logits.log_softmax(2).gather(2, wanted)[..., 0].sum(1)
    margin = margin.detach() + (likelihood - likelihood.detach())
    return torch.stack([torch.zeros_like(margin), margin], 1)


def teacher_forced(prompts: Tensor, target: Tensor) -> Tensor:
    """Prompts with all tokens of the target but the last behind them: (n, p) → (n, p + t − 1)."""
    return torch.cat([prompts, target[:-1].expand(len(prompts), -1)], 1)


def as_classifier(name: str, model: Callable[[Tensor], Tensor]) -> Classifier:
    """What the search wants to know of a model that speaks: its name and its two classes."""
    return Classifier(model, class_names=SAID, name=name, differentiable=True)
