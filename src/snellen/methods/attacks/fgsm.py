"""Fast gradient sign method.

Goodfellow, Shlens and Szegedy, "Explaining and harnessing adversarial examples", ICLR 2015, arXiv 1412.6572, section 4:
x' = clip(x + ε · sign(∇ₓ CE(x, y))). With ``norm="l2"``, the normalised gradient takes the place of its sign.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.criterion import Criterion, Misclassified
from snellen.core.method import Method, Need
from snellen.core.outcomes import Attacked
from snellen.core.randomness import Randomness
from snellen.methods.attacks.norms import Norm, ball, steepest
from snellen.methods.attacks.perturbation import cross_entropy, on_scores, perturb


class FGSM(Method):
    """One step of full length along the gradient, from the clean image.

    >>> import torch
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2))
    >>> classifier = Classifier(model, class_names=["a", "b"])
    >>> attacked = FGSM(epsilon=0.1).attack(classifier, torch.rand(4, 3, 4, 4), torch.tensor([0, 1, 0, 1]))
    >>> bool((attacked.distance <= 0.1 + 1e-6).all())
    True
    """

    name: ClassVar[str] = "fgsm"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "gradients"})
    finds: ClassVar[tuple[str, ...]] = ("adversarial",)

    epsilon: float = Field(8 / 255, ge=0, description="largest change, in [0, 1] pixel units of the norm")
    norm: Norm = Field("linf", description="norm of the change")

    def attack(
        self,
        classifier: Classifier,
        images: Tensor,
        labels: Tensor,
        *,
        criterion: Criterion | None = None,
        rng: Randomness | None = None,
    ) -> Attacked:
        """Attack prepared images (n, 3, h, w) in [0, 1]; one gradient and at most two queries an image."""
        return perturb(
            classifier,
            images,
            labels,
            evaluate=on_scores(classifier, cross_entropy),
            projection=ball(self.norm, self.epsilon),
            step_rule=steepest(self.norm, self.epsilon),
            criterion=criterion or Misclassified(),
            steps=1,
            rng=rng or Randomness(0),
        )
