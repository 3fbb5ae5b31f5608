"""Projected gradient descent.

Madry, Makelov, Schmidt, Tsipras and Vladu, "Towards deep learning models resistant to adversarial attacks", ICLR 2018,
arXiv 1706.06083, eq. (2.2) and section 2.1: random start in the ball, steps of steepest ascent, projection after each,
several restarts.
"""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field, model_validator
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.criterion import Criterion, Misclassified
from snellen.core.method import Method, Need
from snellen.core.outcomes import Attacked
from snellen.core.randomness import Randomness
from snellen.methods.attacks.norms import Norm, ball, steepest
from snellen.methods.attacks.perturbation import cross_entropy, on_scores, perturb


class PGD(Method):
    """Steps of steepest ascent on cross-entropy inside a norm ball; an image leaves at its first success.

    Targeted attacks pass ``criterion=Targeted()`` and the target classes as labels.

    With a random start the clean images are looked at first, so that those that meet the criterion already are returned
    unchanged: one query in ``restarts · (steps + 1) + 1``, also for a caller who knows the clean scores.

    >>> import torch
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2))
    >>> classifier = Classifier(model, class_names=["a", "b"])
    >>> images, labels = torch.rand(4, 3, 4, 4), torch.tensor([0, 1, 0, 1])
    >>> attacked = PGD(norm="l2", epsilon=0.5, steps=5).attack(classifier, images, labels)
    >>> bool((attacked.distance <= 0.5 + 1e-6).all())
    True
    """

    name: ClassVar[str] = "pgd"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "gradients"})
    finds: ClassVar[tuple[str, ...]] = ("adversarial",)

    epsilon: float = Field(8 / 255, ge=0, description="largest change, in [0, 1] pixel units of the norm")
    norm: Norm = Field("linf", description="norm of the change")
    steps: int = Field(20, ge=1, description="gradient steps of each restart")
    step_size: float | None = Field(
        None, gt=0, description="length of a step, in the units of epsilon; by default 2.5 · epsilon / steps"
    )
    random_start: bool = Field(True, description="start from a random point of the ball instead of the clean image")
    restarts: int = Field(1, ge=1, description="independent random starts; only unbroken images go on to the next")

    @model_validator(mode="after")
    def _restarts_differ(self) -> Self:
        if self.restarts > 1 and not self.random_start:
            raise ValueError(
                f"{self.restarts} restarts without a random start would walk the same path {self.restarts} times; "
                f"set random_start=True or restarts=1"
            )
        return self

    def attack(
        self,
        classifier: Classifier,
        images: Tensor,
        labels: Tensor,
        *,
        criterion: Criterion | None = None,
        rng: Randomness | None = None,
    ) -> Attacked:
        """Attack prepared images (n, 3, h, w) in [0, 1]; at most ``restarts · (steps + 1) + 1`` queries an image."""
        return perturb(
            classifier,
            images,
            labels,
            evaluate=on_scores(classifier, cross_entropy),
            projection=ball(self.norm, self.epsilon),
            step_rule=steepest(self.norm, self.step_size or 2.5 * self.epsilon / self.steps),
            criterion=criterion or Misclassified(),
            steps=self.steps,
            rng=(rng or Randomness(0)).child("pgd"),
            random_start=self.random_start,
            restarts=self.restarts,
        )
