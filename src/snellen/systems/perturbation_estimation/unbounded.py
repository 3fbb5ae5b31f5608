"""Scores of images that may leave [0, 1]: estimates are not cut, neither in training nor when they are judged."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, UnsupportedError

#: (n, 3, h, w) → scores (n, k).
Scores = Callable[[Tensor], Tensor]


def unbounded_scores(classifier: Classifier) -> Scores:
    """The scores of a classifier for images of any range; one without a module sees them cut to [0, 1]."""
    network = classifier.module
    if network is None:
        return lambda images: classifier(images.clamp(0, 1))
    return lambda images: network(classifier.normalise(images))


def surrogate_scores(classifier: Classifier) -> Scores:
    """The same of a surrogate: gradients pass through it, and nothing of it changes.

    Raises:
        UnsupportedError: a classifier that gives no gradients or no scores.
        InputError: one whose network is in training mode, whose statistics would follow the images.
    """
    if not classifier.differentiable or classifier.module is None or classifier.output == "labels":
        raise UnsupportedError(f"the surrogate {classifier.name} gives no gradients; name one that runs here in torch")
    if any(layer.training for layer in classifier.module.modules()):
        raise InputError(f"the surrogate {classifier.name} is in training mode; call eval() on its network")
    return unbounded_scores(classifier)


class _Behind(nn.Module):
    """A denoiser and then a classifier, as one network."""

    def __init__(self, denoiser: nn.Module, classifier: Classifier) -> None:
        super().__init__()
        self.denoiser, self.network = denoiser, classifier.module
        self._scores = unbounded_scores(classifier)

    def forward(self, images: Tensor) -> Tensor:
        return self._scores(self.denoiser(images))


def behind(denoiser: nn.Module, classifier: Classifier) -> Classifier:
    """The classifier behind the denoiser: what an attack that knows both has gradients of (adaptive attack).

    >>> plain = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), class_names=["a", "b"])
    >>> images = torch.rand(2, 3, 2, 2)
    >>> torch.equal(behind(nn.Identity(), plain)(images), plain(images))
    True
    """
    if classifier.module is None:
        raise UnsupportedError(f"{classifier.name} is no torch module: no gradient passes it")
    return Classifier(
        _Behind(denoiser, classifier),
        class_names=classifier.class_names,
        preparation=classifier.preparation,
        task=classifier.task,
        output=classifier.output,
        name=f"{classifier.name} behind a denoiser",
        device=classifier.device,
    )


@torch.no_grad()
def in_batches(function: Callable[[Tensor], Tensor], images: Tensor, batch_size: int = 250) -> Tensor:
    """A function of images, at least one, some at a time and without gradients."""
    return torch.cat([function(part) for part in images.split(batch_size)])
