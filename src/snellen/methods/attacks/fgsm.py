"""Fast gradient sign method.

Goodfellow, Shlens and Szegedy, "Explaining and harnessing adversarial examples", ICLR 2015, arXiv 1412.6572, section 4:
x' = clip(x + ε · sign(∇ₓ CE(x, y))). With ``norm="l2"``, the normalised gradient takes the place of its sign.
"""

from __future__ import annotations

from typing import ClassVar

from snellen.core.method import Need
from snellen.core.outcomes import Attacked
from snellen.core.randomness import Randomness
from snellen.methods.attacks.norms import steepest
from snellen.methods.attacks.perturbation import Search, ascend, cross_entropy, on_scores
from snellen.methods.attacks.perturbation.inputs import gives_maps
from snellen.methods.attacks.pixel_search import evenly, search_pixels
from snellen.methods.attacks.search_attack import BallAttack


class FGSM(BallAttack):
    """One step of full length along the gradient, from the clean image: one gradient, at most two queries an image.

    >>> import torch
    >>> from torch import nn
    >>> from snellen.core.classifier import Classifier
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2))
    >>> classifier = Classifier(model, class_names=["a", "b"])
    >>> attacked = FGSM(epsilon=0.1).attack(classifier, torch.rand(4, 3, 4, 4), torch.tensor([0, 1, 0, 1]))
    >>> bool((attacked.distance <= 0.1 + 1e-6).all())
    True
    """

    name: ClassVar[str] = "fgsm"
    takes_maps: ClassVar[bool] = True
    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "gradients"})

    def _search(self, search: Search, rng: Randomness) -> Attacked:
        if gives_maps(search.classifier):
            step_rule = steepest(self.norm, self.epsilon)
            search_pixels(search, rng, weigh=evenly, step_rule=step_rule, steps=1, random_start=False)
            return search.result()
        search.evaluate = on_scores(search.classifier, cross_entropy)
        ascend(search, rng, step_rule=steepest(self.norm, self.epsilon), steps=1)
        return search.result()
