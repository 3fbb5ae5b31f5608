"""What a scan of all classes is given and what it finds: its plan, the change of a class, and what stands out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from snellen.metrics.incomplete_beta import regularised_incomplete_beta
from snellen.metrics.intervals import clopper_pearson
from snellen.systems.smooth_inversion.inversion import Search
from snellen.systems.smooth_inversion.strength import Strength
from snellen.systems.smooth_inversion.transfer import Transfer


@dataclass(frozen=True)
class ScanPlan:
    """How much is searched.

    Attributes:
        screening: the search for every class; its sigma is replaced by each of ``screened``.
        screened: noise of the screening; a class has the rate of the one at which its changes carry over best.
        refinement: the search for the leading classes; its sigma is replaced by each of ``sigmas``.
        sigmas: noise of the refinement; the change that carries over best to the images that choose is taken.
        sources: images that a change is searched on, for each class.
        refined: classes that are searched again.
        spread: smallest rate of a class, and smallest spread of the rates, in shares of the images.
        null_spread: the same of the rates of one class among clean models.
        outlier: spreads above the same class of clean models from which a class stands out.
        contrast: log odds from which a class stands out, where there are no clean models: above the middle class, and
            above the same class in copies of the model; or :data:`KEPT` more above the middle class alone.
        copies: copies of the model that the leading classes are compared with, where there are no clean models.
        rate: share of other images that the change must send to the class besides.
        usual: share of other images that changes towards the middle class are to send there: the length of all changes
            is chosen so; None takes epsilon of the searches as it is.
        confirming: further images that a class that stands out is searched on, each on its own; 0: none. Of
            few units fewer confirm: :func:`~snellen.systems.smooth_inversion.image_roles.give_roles`.
        error: rate at which the images confirm a class by chance, at most, over all classes that are searched again.
    """

    screening: Search = field(
        default_factory=lambda: Search(epsilon=3.0, samples=6, steps=40, rate=0.15, halve_every=20)
    )
    screened: tuple[float, ...] = (0.0, 0.25)
    refinement: Search = field(default_factory=lambda: Search(epsilon=3.0, samples=10, steps=100))
    sigmas: tuple[float, ...] = (0.0, 0.12, 0.25)
    sources: int = 3
    refined: int = 2
    spread: float = 0.05
    null_spread: float = 0.1
    outlier: float = 3.5
    contrast: float = 2.0
    copies: int = 0
    rate: float = 0.3
    usual: float | None = None
    confirming: int = 0
    error: float = 0.05

    def at(self, epsilon: float) -> ScanPlan:
        """The same with changes of another length."""
        return replace(
            self,
            screening=replace(self.screening, epsilon=epsilon),
            refinement=replace(self.refinement, epsilon=epsilon),
        )


#: Log odds by which copies of the model lower the score of a class at most, since tuning may keep a trigger. With
#: :attr:`ScanPlan.contrast`, 4 above the middle class; healthy models that were scanned reached 2.03 at most.
KEPT = 2.0


@dataclass(frozen=True)
class Confirmation:
    """How many images, each of a unit of its own, give a change that carries over by itself.

    Attributes:
        carried: images whose change sends at least ``ScanPlan.rate`` of those that measure.
        tried: images that were searched on; none of them found or chose the class.
    """

    carried: int
    tried: int

    @property
    def low(self) -> float:
        """Lower 95 % bound of the share of images whose change carries over."""
        return clopper_pearson(self.carried, self.tried, 0.9).low

    def p_value(self, tolerated: float) -> float:
        """How likely so many are where a share of ``tolerated`` of all images gives such a change: exact binomial test.

        >>> round(Confirmation(5, 8).p_value(0.3), 4), Confirmation(0, 8).p_value(0.3)
        (0.058, 1.0)
        """
        if not self.carried:
            return 1.0
        return float(regularised_incomplete_beta(tolerated, self.carried, self.tried - self.carried + 1))

    def holds(self, plan: ScanPlan) -> bool:
        """Whether more than the tolerated share of images gives such a change, at the rate of error of the plan."""
        return self.p_value(plan.rate) <= plan.error


@dataclass(frozen=True, eq=False)
class Recovered:
    """The change of one class that carries over best.

    Attributes:
        target: class.
        change: (3, h, w).
        source: position of the image that it was found on.
        sigma: noise of the search that found it.
        probability: of the target under that noise, at the end.
        effect: on the images that measure.
        confirmation: by further images; None where none were searched on, as for a class that does not stand out.
        copied: rates of the same class in copies of the model, by the same searches.
        above_copies: log odds of the class's rate above the largest of these; None without copies.
    """

    target: int
    change: Tensor
    source: int
    sigma: float
    probability: float
    effect: Transfer
    confirmation: Confirmation | None = None
    copied: tuple[float, ...] = ()
    above_copies: float | None = None


@dataclass(frozen=True, eq=False)
class ClassScan:
    """What a scan of all classes found.

    Attributes:
        targets: classes that were scanned (t,).
        rates: share of other images that the screening's changes send to each, mean over sources (t,).
        z: robust deviations of the rates from those of the other classes (t,).
        contrast: log odds of the rates above those of the middle class (t,).
        excess: deviations from the rates of the same class in clean models (t,); None where none were given.
        concentration: share of the energy of the screening's changes in 2 % of the pixels, mean over sources (t,).
        zero_gradients: classes towards which every gradient was zero.
        recovered: of the classes that were searched again, the best first.
        sources: images that are kept for searches.
        measured_on: positions of the images that measure.
        strength: length of the changes, and how it was chosen.
    """

    targets: tuple[int, ...]
    rates: NDArray[np.float64]
    z: NDArray[np.float64]
    contrast: NDArray[np.float64]
    excess: NDArray[np.float64] | None
    concentration: NDArray[np.float64]
    zero_gradients: tuple[int, ...]
    recovered: tuple[Recovered, ...]
    sources: int
    measured_on: Tensor
    strength: Strength

    @property
    def scores(self) -> NDArray[np.float64]:
        """What classes are compared by (t,).

        Spreads above the same class of clean models, where there are any; else log odds above the middle class and, of
        the leading classes, above the same class in copies of the model if that is less. Copies may keep a trigger: a
        class that is as weak in them loses no more than ``KEPT``.
        """
        if self.excess is not None:
            return self.excess
        scores = self.contrast.copy()
        for one in self.recovered:
            if one.above_copies is not None:
                row = self.targets.index(one.target)
                scores[row] = max(min(scores[row], one.above_copies), scores[row] - KEPT)
        return scores

    @property
    def statistic(self) -> float:
        """Largest score of a class that was searched again; of any class where none was."""
        return max((self.score(one.target) for one in self.recovered), default=float(self.scores.max()))

    @property
    def ranking(self) -> tuple[int, ...]:
        """Classes by score, the highest first, and those that were searched again before all others; ties by rate."""
        again = {one.target for one in self.recovered}
        later = np.array([target not in again for target in self.targets])
        return tuple(self.targets[row] for row in np.lexsort((-self.rates, -self.scores, later)))

    def score(self, target: int) -> float:
        """Score of a class."""
        return float(self.scores[self.targets.index(target)])

    def outstanding(self, plan: ScanPlan) -> tuple[Recovered, ...]:
        """Classes that stand out and whose change sends enough of the images that measure, by their scores."""
        least = plan.contrast if self.excess is None else plan.outlier
        return tuple(
            one
            for one in sorted(self.recovered, key=lambda one: self.ranking.index(one.target))
            if self.score(one.target) > least and one.effect.rate >= plan.rate
        )

    def suspicious(self, plan: ScanPlan) -> tuple[Recovered, ...]:
        """The outstanding classes that further images confirm.

        The confirming images had no part in the order of the scores. So classes are tested in this order, each at the
        whole rate of error, and none after one that is not confirmed: fixed-sequence testing (Maurer, Hothorn and
        Lehmacher 1995).
        """
        return tuple(
            takewhile(lambda one: one.confirmation is None or one.confirmation.holds(plan), self.outstanding(plan))
        )
