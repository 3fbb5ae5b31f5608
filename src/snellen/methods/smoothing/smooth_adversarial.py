"""SmoothAdv: training on images that were moved to where the majority under noise is least sure of their class.

Salman, Li, Razenshteyn, Zhang, Zhang, Bubeck and Yang, "Provably robust deep learning via adversarially trained
smoothed classifiers", NeurIPS 2019, arXiv 1906.04584, algorithm 1: a few steps of l2 ascent on −log of the mean
probability, then cross-entropy under the same noise at the place that was reached. ε grows over the first epochs, as
published.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.criterion import Misclassified
from snellen.methods.attacks.in_training import lent
from snellen.methods.attacks.perturbation import L2Ball, NormalizedStep, perturb
from snellen.methods.smoothing.branches import Branch
from snellen.methods.smoothing.noisy_training import STREAM, NoisyTraining, copies_mean, on_noisy_copies
from snellen.methods.smoothing.votes import length_in, vote_evaluation
from snellen.training.batches import Batch
from snellen.training.objectives import Objective


class SmoothAdversarial(NoisyTraining):
    """Train on images that were attacked under noise; a step costs ``steps + 1`` times as much, and twice for halves.

    >>> SmoothAdversarial().epsilon
    0.25
    """

    name: ClassVar[str] = "smooth_adversarial"
    treats: ClassVar[tuple[str, ...]] = ("adversarial",)

    copies: int = Field(2, ge=1, description="noisy copies of each image in a step")
    epsilon: float = Field(0.25, gt=0, description="how far images are moved, l2 in [0, 1] pixel units")
    steps: int = Field(2, ge=1, description="steps of ascent, each of 2 · epsilon / steps")
    warmup: int = Field(10, ge=1, description="epochs over which epsilon grows to its size")

    def objective(self) -> Objective:
        """Cross-entropy of noisy copies of moved images."""
        assert STREAM == "look 0", "the attack draws the noise of its first look, and so must the training"

        def moved(model: nn.Module, branches: tuple[Branch, ...], batch: Batch) -> Tensor:
            size = length_in(branches, self.epsilon * min(batch.epoch / self.warmup, 1.0))
            with lent(model):
                with torch.no_grad():
                    classes = branches[0].scores(branches[0].part(batch.images[:1])).shape[1]
                names = [str(number) for number in range(classes)]
                classifier = Classifier(model, class_names=names, device=batch.images.device)
                return perturb(
                    classifier,
                    batch.images,
                    batch.targets,
                    evaluate=vote_evaluation(
                        branches, sigma=self.sigma, samples=self.copies, rng=batch.rng, fresh=False
                    ),
                    projection=L2Ball(size),
                    step_rule=NormalizedStep(2 * size / self.steps),
                    criterion=Misclassified(),
                    steps=self.steps,
                    rng=batch.rng,
                    keep="last",
                ).images.clone()

        return on_noisy_copies(self.noise, self.copies, copies_mean, moved)
