"""FGSM and PGD on any objective, for comparing what is climbed while all else is equal."""

from __future__ import annotations

from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.criterion import Criterion, Misclassified
from snellen.core.outcomes import Attacked
from snellen.core.randomness import Randomness
from snellen.methods.attacks.norms import Norm, ball, steepest
from snellen.methods.attacks.perturbation import on_scores, perturb
from snellen.methods.attacks.perturbation.objectives import Objective


def one_step(
    classifier: Classifier,
    images: Tensor,
    labels: Tensor,
    *,
    objective: Objective,
    norm: Norm = "linf",
    epsilon: float = 8 / 255,
    criterion: Criterion | None = None,
) -> Attacked:
    """One step of full length from the clean image: :class:`snellen.methods.attacks.fgsm.FGSM` with another objective.

    >>> import torch
    >>> from torch import nn
    >>> from snellen.methods.attacks.fgsm import FGSM
    >>> from snellen.methods.attacks.perturbation import cross_entropy
    >>> classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), class_names=["a", "b"])
    >>> images, labels = torch.rand(4, 3, 4, 4), torch.tensor([0, 1, 0, 1])
    >>> ours = one_step(classifier, images, labels, objective=cross_entropy)
    >>> torch.equal(ours.images, FGSM().attack(classifier, images, labels).images)
    True
    """
    return perturb(
        classifier,
        images,
        labels,
        evaluate=on_scores(classifier, objective),
        projection=ball(norm, epsilon),
        step_rule=steepest(norm, epsilon),
        criterion=criterion or Misclassified(),
        steps=1,
        rng=Randomness(0),
    )


def many_steps(
    classifier: Classifier,
    images: Tensor,
    labels: Tensor,
    *,
    objective: Objective,
    norm: Norm = "linf",
    epsilon: float = 8 / 255,
    steps: int = 20,
    criterion: Criterion | None = None,
    rng: Randomness | None = None,
) -> Attacked:
    """Steps of 2.5 · epsilon / steps from a random start: :class:`snellen.methods.attacks.pgd.PGD` with another
    objective.

    The random starts are those of PGD: two objectives start from the same points.
    """
    return perturb(
        classifier,
        images,
        labels,
        evaluate=on_scores(classifier, objective),
        projection=ball(norm, epsilon),
        step_rule=steepest(norm, 2.5 * epsilon / steps),
        criterion=criterion or Misclassified(),
        steps=steps,
        rng=(rng or Randomness(0)).child("pgd"),
        random_start=True,
    )
