"""Auto-PGD: projected gradient ascent that sets its own step length.

Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks", ICML
2020, arXiv 2003.01690: algorithm 1 for the steps, section 4 for the losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from snellen.core.method import Need
from snellen.core.outcomes import Attacked
from snellen.core.randomness import Randomness
from snellen.methods.attacks.norms import uphill
from snellen.methods.attacks.perturbation import (
    Search,
    ascend,
    cross_entropy,
    difference_of_logits_ratio,
    negative_margin,
    on_scores,
)
from snellen.methods.attacks.perturbation.auto_step import AutoStep
from snellen.methods.attacks.perturbation.contested_classes import (
    classes_to_raise,
    on_pairs,
    refuse_without_pairs,
)
from snellen.methods.attacks.perturbation.objectives import (
    Evaluation,
    no_objective,
    targeted_difference_of_logits_ratio,
    targeted_margin,
)
from snellen.methods.attacks.perturbation.stopping import Hopeless, Stopping
from snellen.methods.attacks.search_attack import BallAttack

Loss = Literal["cross_entropy", "dlr", "margin", "targeted_dlr", "targeted_margin"]

_LOSSES = {"cross_entropy": cross_entropy, "dlr": difference_of_logits_ratio, "margin": negative_margin}
_TARGETED = {"targeted_dlr": targeted_difference_of_logits_ratio, "targeted_margin": targeted_margin}


class APGD(BallAttack):
    """Projected gradient ascent without a step size to choose: each image halves its own at fixed checkpoints.

    The targeted losses attack one other class after another, nearest first, each with its own random start; only images
    that stand reach the next. With ``criterion=Targeted()`` they play the target against the best of the other classes.
    The clean images are scored first, so that those that meet the criterion already are returned unchanged.

    An image costs at most ``restarts · (steps + 1) + 1`` queries, with a targeted loss that many for each target class.

    >>> import torch
    >>> from torch import nn
    >>> from snellen.core.classifier import Classifier
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 5))
    >>> classifier = Classifier(model, class_names=list("abcde"))
    >>> images, labels = torch.rand(4, 3, 4, 4), torch.tensor([0, 1, 0, 1])
    >>> attacked = APGD(epsilon=0.1, steps=10, loss="targeted_dlr").attack(classifier, images, labels)
    >>> bool((attacked.distance <= 0.1 + 1e-6).all())
    True
    """

    name: ClassVar[str] = "apgd"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "gradients"})

    loss: Loss = Field(
        "cross_entropy",
        description="what is climbed; dlr (difference of logits ratio) needs 3 classes, targeted_dlr 4",
    )
    steps: int = Field(100, ge=1, description="gradient steps of each start")
    restarts: int = Field(1, ge=1, description="independent random starts, for each target class of a targeted loss")
    target_classes: int = Field(9, ge=1, description="other classes that a targeted loss tries, at most all there are")
    patience: float | None = Field(
        None,
        gt=0,
        le=1,
        description="end a search that would not break the image by its last step, rising as fast as in the last such "
        "share of its steps. Not in the paper; can lose a success. By default never",
    )

    @model_validator(mode="after")
    def _patience_knows_its_goal(self) -> Self:
        if self.patience is not None and self.loss == "cross_entropy":
            raise ValueError(
                "patience needs a loss whose sign shows whether an image is broken, and cross_entropy does not; "
                "leave patience out, or climb margin, dlr or a targeted loss"
            )
        return self

    def _search(self, search: Search, rng: Randomness) -> Attacked:
        if self.loss != "cross_entropy":
            refuse_without_pairs(search.classifier, f"apgd with loss={self.loss!r}")
        search.evaluate = on_scores(search.classifier, _LOSSES.get(self.loss, no_objective))
        search.judge_clean()
        step_rule = AutoStep(search.projection, partial(uphill, self.norm), 2 * self.epsilon, self.steps)
        stop = self._stop(search)
        for evaluate, starts in self._objectives(search, rng.child(self.loss)):
            search.evaluate = evaluate
            for restart in range(self.restarts):
                start = starts.child("restart", restart)
                ascend(search, start, step_rule=step_rule, steps=self.steps, random_start=True, stop=stop)
        return search.result()

    def _objectives(self, search: Search, rng: Randomness) -> Sequence[tuple[Evaluation, Randomness]]:
        """What is climbed, one after the other, and the randomness of its starts."""
        if self.loss in _LOSSES:
            return [(search.evaluate, rng)]
        targets = classes_to_raise(search.scores, search.labels, search.criterion, self.target_classes)
        return [
            (on_pairs(search.classifier, _TARGETED[self.loss], target, search.criterion), rng.child("target", rank))
            for rank, target in enumerate(targets.T)
        ]

    def _stop(self, search: Search) -> Stopping | None:
        if self.patience is None:
            return None
        return Hopeless(len(search.images), steps=self.steps, share=self.patience, direction=search.criterion.direction)
