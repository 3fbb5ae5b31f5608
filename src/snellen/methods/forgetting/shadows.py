"""Shadow models of a forget set: retrained with some of its images and without others, as an attacker would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.methods.forgetting.forget_split import ForgetSplit
from snellen.methods.forgetting.judging import ForgettingCase
from snellen.methods.forgetting.retraining import Retraining
from snellen.metrics.auroc import auroc
from snellen.metrics.auroc_interval import macro_auroc_interval
from snellen.metrics.likelihood_attack import likelihood_ratios
from snellen.metrics.membership_area import certainty
from snellen.models.classifiers.trainable import PreparedNetwork
from snellen.runs.record import Figure
from snellen.training.evaluation import score_examples
from snellen.training.parts import Chosen, Labelled, Together

#: Fewest shadow models: two that saw an image, and two that did not.
FEWEST = 4

#: Test images that the attack is tried on, where the forget set is smaller.
BESIDE = 100


@dataclass(frozen=True, eq=False)
class Shadows:
    """What an attacker trains who knows the recipe, the remaining images and who may be in the forget set.

    Each is trained on all remaining images, and on half of the forget images and of as many test images (Hayes et al.,
    "Inexact unlearning needs more careful evaluations", 2024, arXiv 2403.01218). Every second one takes the other
    half, so that each image is in half of them.

    Args:
        case: classifier and images.
        split: which images to forget.
        exact: the recipe.
        count: shadow models, even, at least :data:`FEWEST`.
        rng: of halves and trainings.

    Raises:
        InputError: another number of shadow models.
    """

    case: ForgettingCase
    split: ForgetSplit
    exact: Retraining
    count: int
    rng: Randomness

    def __post_init__(self) -> None:
        if self.count < FEWEST or self.count % 2:
            raise InputError(f"shadow models come in pairs, {FEWEST} or more; got {self.count}")

    @cached_property
    def tested(self) -> Tensor:
        """Rows of the test images that the attack is tried on, int64, ascending."""
        count = min(len(self.case.test), max(len(self.split.rows), BESIDE))
        drawn = torch.randperm(len(self.case.test), generator=self.rng.generator("test images of the attack"))
        return drawn[:count].sort().values

    @cached_property
    def attacked(self) -> Together:
        """Forget images, then test images."""
        kinds: dict[str, Labelled] = {"forget": self.split.forgotten, "test": Chosen(self.case.test, self.tested)}
        return Together(kinds, torch.ones(len(self.split.rows) + len(self.tested)))

    def inside(self, number: int) -> NDArray[np.bool_]:
        """Whether a shadow model, from 0, is trained on each attacked image, bool (n,)."""
        total = len(self.attacked)
        drawn = torch.randperm(total, generator=self.rng.generator(f"half {number // 2}"))[: total // 2]
        chosen = np.zeros(total, dtype=np.bool_)
        chosen[drawn.numpy()] = True
        return ~chosen if number % 2 else chosen

    def trained(self, number: int, *, progress: Progress | None = None) -> NDArray[np.float64]:
        """Train a shadow model, and give its certainty about each attacked image (n,)."""
        kinds: dict[str, Labelled] = {"remaining": self.split.remaining, "attacked": self.attacked}
        remaining = len(self.split.remaining)
        whole = Together(kinds, torch.ones(remaining + len(self.attacked)))
        outside = torch.from_numpy(np.flatnonzero(~self.inside(number))) + remaining
        network = self.exact.forget(
            self.case.network(),
            ForgetSplit(whole, outside),
            rng=self.rng.child(f"shadow {number}"),
            progress=progress,
        )
        return self.certainty(network)

    def certainty(self, network: PreparedNetwork) -> NDArray[np.float64]:
        """How sure a network is of the true class of each attacked image, (n,)."""
        scores, targets = score_examples(network.eval(), self.attacked)
        return certainty(scores.double().numpy(), targets.numpy())

    def separation(self, own: ArrayLike, shadows: Sequence[ArrayLike]) -> Figure:
        """Area under the ROC curve of forget against test images by the likelihood ratio; 0.5: they look alike.

        Args:
            own: certainty of the attacked network (n,).
            shadows: that of each shadow model, in their order.
        """
        ratios = likelihood_ratios(own, np.stack(shadows), np.stack([self.inside(one) for one in range(self.count)]))
        labels = np.repeat([1, 0], [len(self.split.rows), len(self.tested)])
        units = np.concatenate(
            [
                self.case.units[self.split.is_forgotten.numpy()],
                self.case.test_units[self.tested.numpy()] + self.case.units.max() + 1,
            ]
        )
        area = macro_auroc_interval(labels, np.stack([-ratios, ratios], axis=1), units)
        return Figure(value=auroc(labels, ratios), low=area.low, high=area.high, n=len(labels))
