"""What a forgetting will cost: images through the network, counted, and seconds, measured on a few of them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from snellen.core.method import Method
from snellen.core.randomness import Randomness
from snellen.methods.forgetting.boundary import BoundaryExpanding, BoundaryShrink
from snellen.methods.forgetting.fine_tuning import FineTuning
from snellen.methods.forgetting.forgetter import Forgetting
from snellen.methods.forgetting.gradient_ascent import GradientAscent
from snellen.methods.forgetting.retraining import Retraining
from snellen.training.evaluation import score_examples
from snellen.training.parts import Chosen

if TYPE_CHECKING:
    from snellen.verbs.forget import Networks

#: Images that are trained on and scored to measure.
TRIED = 64

#: Methods that train on the forget set alone.
_OF_FORGET_SET = (GradientAscent, BoundaryShrink, BoundaryExpanding)

#: Passes of a method that has none of its own: selective dampening reads gradients of all images, and of the forget
#: set again.
_OTHER_PASSES = 2


@dataclass(frozen=True)
class ForgettingCosts:
    """Images through the network.

    Attributes:
        trained: forward and backward.
        scored: forward alone.
    """

    trained: int
    scored: int

    @classmethod
    def of(cls, work: Networks) -> ForgettingCosts:
        """Count what a forgetting does."""
        total, own = len(work.split.images), len(work.split.rows)
        sets = 1 + (work.worst is not None) + work.random_sets
        method = work.setting.method
        trained = sets * passes_of(method) * (own if isinstance(method, _OF_FORGET_SET) else total)
        judged = 1 + sets
        if work.exact is not None:
            trained += work.exact.plan.epochs * (total - own)
            judged += 1
        if work.shadows is not None:
            trained += work.shadows.count * work.shadows.exact.plan.epochs * total
        if work.relearning is not None:
            networks = 1 if work.exact is None else 2
            trained += networks * work.relearning.passes * len(work.relearning.images.ids)
            judged += networks * work.relearning.passes
        return cls(trained, judged * (total + len(work.case.test)))

    def __str__(self) -> str:
        return f"passes: about {self.trained + self.scored:,} images forward, {self.trained:,} backward"


def passes_of(method: Method) -> int:
    """Passes of a method over its images.

    >>> passes_of(FineTuning(epochs=4)), passes_of(Retraining(plan={"epochs": 30}))
    (4, 30)
    """
    if isinstance(method, Retraining):
        return method.plan.epochs
    return int(getattr(method, "epochs", _OTHER_PASSES))


def forecast(work: Networks) -> float:
    """Seconds of a forgetting, by training on a few images, and scoring them, in this process."""
    costs = ForgettingCosts.of(work)
    few = Chosen(work.case.store, torch.arange(min(TRIED, len(work.case.store))))
    network = work.case.network()
    method = FineTuning(epochs=1, batch_size=TRIED)
    taken = []
    for number in range(2):  # the first run warms up
        started = time.perf_counter()
        method.trained_on(network, few, Forgetting(Randomness(work.seed).child("forecast", number)))
        trained = time.perf_counter()
        score_examples(network.eval(), few)
        taken.append((trained - started, time.perf_counter() - trained))
    trained_s, scored_s = taken[-1]
    return (costs.trained * trained_s + costs.scored * scored_s) / len(few)
