"""Projected gradient descent.

Madry, Makelov, Schmidt, Tsipras and Vladu, "Towards deep learning models resistant to adversarial attacks", ICLR 2018,
arXiv 1706.06083, eq. (2.2) and section 2.1: random start in the ball, steps of steepest ascent, projection after each,
several restarts.
"""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field, model_validator
from torch import Tensor

from snellen.core.method import Need
from snellen.core.outcomes import Attacked
from snellen.core.randomness import Randomness
from snellen.methods.attacks.norms import steepest
from snellen.methods.attacks.perturbation import Search, ascend, cross_entropy, on_scores
from snellen.methods.attacks.perturbation.inputs import gives_maps
from snellen.methods.attacks.pixel_search import evenly, search_pixels
from snellen.methods.attacks.search_attack import BallAttack


class PGD(BallAttack):
    """Steps of steepest ascent on cross-entropy inside a norm ball; an image leaves at its first success.

    Targeted attacks pass ``criterion=Targeted()`` and the target classes as labels. Of a model that decides each pixel
    it climbs the mean loss over the pixels, and every image returns its last iterate.

    An image costs at most ``restarts · (steps + 1) + 1`` queries. With a random start the clean images are scored
    first, so that those that meet the criterion already are returned unchanged: one query of these, also for a caller
    who knows the clean scores.

    >>> import torch
    >>> from torch import nn
    >>> from snellen.core.classifier import Classifier
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2))
    >>> classifier = Classifier(model, class_names=["a", "b"])
    >>> images, labels = torch.rand(4, 3, 4, 4), torch.tensor([0, 1, 0, 1])
    >>> attacked = PGD(norm="l2", epsilon=0.5, steps=5).attack(classifier, images, labels)
    >>> bool((attacked.distance <= 0.5 + 1e-6).all())
    True
    """

    name: ClassVar[str] = "pgd"
    takes_maps: ClassVar[bool] = True
    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "gradients"})

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

    def _weigh(self, scores: Tensor, labels: Tensor, done: float, targeted: bool) -> Tensor:
        """Weights of the pixels of a model that gives maps."""
        return evenly(scores, labels, done, targeted)

    def _search(self, search: Search, rng: Randomness) -> Attacked:
        step_rule = steepest(self.norm, self.step_size or 2.5 * self.epsilon / self.steps)
        if gives_maps(search.classifier):
            search_pixels(
                search, rng, weigh=self._weigh, step_rule=step_rule, steps=self.steps, random_start=self.random_start,
                restarts=self.restarts,
            )  # fmt: skip
            return search.result()
        search.evaluate = on_scores(search.classifier, cross_entropy)
        if self.random_start:
            search.judge_clean()
        for restart in range(self.restarts):
            start = rng.child("restart", restart)
            ascend(search, start, step_rule=step_rule, steps=self.steps, random_start=self.random_start)
        return search.result()
