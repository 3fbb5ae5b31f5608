"""Auto-PGD: projected gradient ascent that sets its own step length.

Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks", ICML
2020, arXiv 2003.01690: algorithm 1 for the steps, section 4 for the losses.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.criterion import Criterion, Misclassified
from snellen.core.errors import UnsupportedError
from snellen.core.method import Method, Need
from snellen.core.outcomes import Attacked
from snellen.core.randomness import Randomness
from snellen.methods.attacks.norms import Norm, ball, uphill
from snellen.methods.attacks.perturbation import (
    cross_entropy,
    difference_of_logits_ratio,
    negative_margin,
    on_scores,
    perturb,
)
from snellen.methods.attacks.perturbation.auto_step import AutoStep
from snellen.methods.attacks.perturbation.contested_classes import (
    classes_to_lower,
    classes_to_raise,
    refuse_without_pairs,
)
from snellen.methods.attacks.perturbation.inputs import checked_inputs
from snellen.methods.attacks.perturbation.loop import ascend
from snellen.methods.attacks.perturbation.objectives import (
    Evaluation,
    targeted_difference_of_logits_ratio,
    targeted_margin,
)
from snellen.methods.attacks.perturbation.search import Search
from snellen.methods.attacks.perturbation.stopping import Hopeless, Stopping

Loss = Literal["cross_entropy", "dlr", "margin", "targeted_dlr", "targeted_margin"]

_LOSSES = {"cross_entropy": cross_entropy, "dlr": difference_of_logits_ratio, "margin": negative_margin}
_TARGETED = {"targeted_dlr": targeted_difference_of_logits_ratio, "targeted_margin": targeted_margin}


class APGD(Method):
    """Projected gradient ascent without a step size to choose: each image halves its own at fixed checkpoints.

    The targeted losses attack one other class after another, nearest first, each with its own random start; only images
    that stand go on to the next. With ``criterion=Targeted()`` they play the target against whichever other class is
    best. The clean images are looked at first, so that those that meet the criterion already are returned unchanged.

    >>> import torch
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 5))
    >>> classifier = Classifier(model, class_names=list("abcde"))
    >>> images, labels = torch.rand(4, 3, 4, 4), torch.tensor([0, 1, 0, 1])
    >>> attacked = APGD(epsilon=0.1, steps=10, loss="targeted_dlr").attack(classifier, images, labels)
    >>> bool((attacked.distance <= 0.1 + 1e-6).all())
    True
    """

    name: ClassVar[str] = "apgd"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "gradients"})
    finds: ClassVar[tuple[str, ...]] = ("adversarial",)

    epsilon: float = Field(8 / 255, ge=0, description="largest change, in [0, 1] pixel units of the norm")
    norm: Norm = Field("linf", description="norm of the change")
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
        description="end a search that, rising on as fast as in the last such share of its steps, would not break the "
        "image by its last step (not in the paper; can lose a success); by default never",
    )

    @model_validator(mode="after")
    def _patience_knows_its_goal(self) -> Self:
        if self.patience is not None and self.loss == "cross_entropy":
            raise ValueError(
                "patience needs a loss that tells by its sign whether an image is broken, and cross_entropy does not; "
                "leave patience out, or climb margin, dlr or a targeted loss"
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
        """Attack prepared images (n, 3, h, w) in [0, 1].

        At most ``restarts · (steps + 1) + 1`` queries an image, with a targeted loss that many for each target class.
        """
        criterion, rng = criterion or Misclassified(), (rng or Randomness(0)).child("apgd", self.loss)
        projection = ball(self.norm, self.epsilon)
        step_rule = AutoStep(projection, partial(uphill, self.norm), 2 * self.epsilon, self.steps)
        if self.loss != "cross_entropy":
            refuse_without_pairs(classifier, f"apgd with loss={self.loss!r}")
        if self.loss in _LOSSES:
            return perturb(
                classifier,
                images,
                labels,
                evaluate=on_scores(classifier, _LOSSES[self.loss]),
                projection=projection,
                step_rule=step_rule,
                criterion=criterion,
                steps=self.steps,
                rng=rng,
                random_start=True,
                restarts=self.restarts,
                stop=self._stop(images, criterion),
            )
        if not classifier.differentiable:
            raise UnsupportedError(f"{classifier.name} gives no gradients, which this attack needs")
        with torch.inference_mode(False), torch.no_grad():
            images, labels = checked_inputs(classifier, images, labels)
            rng = rng.bind(len(images))
            look_first = on_scores(classifier, negative_margin)
            search = Search(classifier, images, labels, evaluate=look_first, criterion=criterion, projection=projection)
            search.judge_clean()
            targets = classes_to_raise(search.scores, labels, criterion, self.target_classes)
            stop = self._stop(images, criterion)
            for rank in range(targets.shape[1]):
                search.evaluate = self._towards(classifier, targets[:, rank], criterion)
                for restart in range(self.restarts):
                    positions = search.open_positions()
                    if len(positions):
                        start = rng.child("target", rank, "restart", restart)
                        ascend(
                            search, positions, step_rule=step_rule, steps=self.steps, rng=start, random_start=True,
                            stop=stop,
                        )  # fmt: skip
            return search.result()

    def _stop(self, images: Tensor, criterion: Criterion) -> Stopping | None:
        if self.patience is None:
            return None
        return Hopeless(len(images), steps=self.steps, share=self.patience, direction=criterion.direction)

    def _towards(self, classifier: Classifier, targets: Tensor, criterion: Criterion) -> Evaluation:
        """Evaluate the targeted loss for one target class of each image of the batch, (n,)."""
        objective = _TARGETED[self.loss]

        def evaluate(candidates: Tensor, labels: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
            scores = classifier(candidates)
            lowered = classes_to_lower(scores.detach(), labels, criterion)
            # The loop turns values round for a criterion that asks to come nearer; this loss knows the way itself.
            return scores, criterion.direction * objective(scores, lowered, targets[positions])

        return evaluate
