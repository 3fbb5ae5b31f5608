"""Cognitive distillation: the smallest part of an image that keeps the model's output; small for poisoned images.

Huang, Ma, Erfani and Bailey, "Distilling cognitive backdoor patterns within an image", ICLR 2023, arXiv 2301.10908,
equations 1 and 2: argmin over m of ‖f(x) − f(x ⊙ m + (1 − m) ⊙ δ)‖₁ + a ‖m‖₁ + b TV(m), with δ random in [0, 1].
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.method import Need
from snellen.core.randomness import Randomness
from snellen.methods.scans.scored_images import ScoredImages


def distilled_masks(
    classifier: Classifier,
    images: Tensor,
    *,
    steps: int = 100,
    learning_rate: float = 0.1,
    size_weight: float = 0.01,
    smoothness: float = 1.0,
    rng: Randomness,
) -> Tensor:
    """The mask of each image, (n, 1, h, w) in [0, 1], 1 where the image must be seen.

    Each image has its own colour δ and its own terms in the sum, so a batch gives what its images give alone.

    Args:
        classifier: with gradients.
        images: (n, 3, h, w) in [0, 1].
        steps: of Adam.
        learning_rate: of Adam; its momenta are 0.1, as published.
        size_weight: a, of the mean of the mask's values times h w.
        smoothness: b, of the total variation.
        rng: bound to the images' ids, or their positions.

    Raises:
        InputError: a classifier without gradients.
    """
    if not classifier.differentiable:
        raise InputError(f"masks are searched by gradients, and {classifier.name} gives none")
    draws = rng.bind(len(images))
    with torch.no_grad():
        wanted = classifier(images)
    with torch.inference_mode(False), torch.enable_grad():
        seen = images.clone()
        logits = torch.ones_like(seen[:, :1]).requires_grad_(True)
        optimizer = torch.optim.Adam([logits], lr=learning_rate, betas=(0.1, 0.1))
        for step in range(steps):
            mask = (logits.tanh() + 1) / 2
            colour = draws.uniform(f"colour {step}", (3, 1, 1), like=seen)
            found = classifier((seen * mask + (1 - mask) * colour).clamp(0, 1))
            kept = (found - wanted.clone()).abs().mean(1)
            size = mask.flatten(1).sum(1)
            across = (mask[..., 1:] - mask[..., :-1]).square().flatten(1).mean(1)
            down = (mask[..., 1:, :] - mask[..., :-1, :]).square().flatten(1).mean(1)
            loss = kept + size_weight * size + smoothness * (across + down)
            (gradient,) = torch.autograd.grad(loss.sum(), logits)
            classifier.count_gradients(gradient)
            logits.grad = gradient
            optimizer.step()
        return ((logits.tanh() + 1) / 2).detach()


class CognitiveDistillation(ScoredImages):
    """Look for images whose decision rests on a small part (cognitive distillation).

    >>> CognitiveDistillation(steps=20).record()["steps"]
    20
    """

    name: ClassVar[str] = "cognitive_distillation"
    needs: ClassVar[frozenset[Need]] = frozenset({"scores", "gradients"})

    steps: int = Field(100, ge=1, description="of the search for each mask")
    learning_rate: float = Field(0.1, gt=0, description="of the search")
    size_weight: float = Field(0.01, gt=0, description="of the mask's size beside the change of the scores")
    smoothness: float = Field(1.0, ge=0, description="weight of the mask's variation")

    def prepared(self, images: ImageSet, classifier: Classifier, rng: Randomness) -> None:
        """Nothing is shared."""
        return

    def scores(self, classifier: Classifier, pixels: Tensor, shared: object, rng: Randomness) -> Tensor:
        """1 − mean of the mask, 0 to 1: the share of the image that is not needed."""
        masks = distilled_masks(
            classifier,
            pixels,
            steps=self.steps,
            learning_rate=self.learning_rate,
            size_weight=self.size_weight,
            smoothness=self.smoothness,
            rng=rng,
        )
        return 1 - masks.flatten(1).mean(1)
