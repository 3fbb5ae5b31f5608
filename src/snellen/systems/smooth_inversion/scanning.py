"""Which class of a classifier, if any, a change of one image reaches from everywhere: all classes, then the first few.

Every class is screened with the same few steps, because only equal budgets can be compared; the statistic comes from
these. The classes that lead are searched again with more steps, for a change that is worth looking at. Other images say
how far a change carries over: half of them chooses among changes, and the other half alone measures the chosen one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import comb

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.methods.smoothing.votes import CHUNK
from snellen.metrics.intervals import clopper_pearson
from snellen.systems.smooth_inversion.class_outliers import contrast, excess, log_odds, robust_z
from snellen.systems.smooth_inversion.copies import tuned_copies
from snellen.systems.smooth_inversion.fidelity import concentration
from snellen.systems.smooth_inversion.image_roles import Roles, give_roles
from snellen.systems.smooth_inversion.inversion import Inverted, Search, invert
from snellen.systems.smooth_inversion.strength import MOST_LENGTHS, Strength, choose_strength
from snellen.systems.smooth_inversion.transfer import Transfer, decisions, transfer

#: The search that chooses the length: images and steps for each class.
QUICK_SOURCES, QUICK_STEPS = 2, 20


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
            above the same class in copies of the model.
        copies: copies of the model that the leading classes are compared with, where there are no clean models.
        rate: share of other images that the change must send to the class besides.
        usual: share of other images that changes towards the middle class are to send there: the length of all changes
            is chosen so; None takes epsilon of the searches as it is.
        confirming: further images that the leading classes are searched on, each on its own; 0: none.
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

    @property
    def p_value(self) -> float:
        """How likely so many are where the change of a median image does not carry over: exact sign test.

        >>> Confirmation(8, 8).p_value, Confirmation(0, 8).p_value
        (0.00390625, 1.0)
        """
        return sum(comb(self.tried, many) for many in range(self.carried, self.tried + 1)) / 2**self.tried


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
        confirmation: by further images; None where none were searched on.
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
        blind: classes towards which every gradient was zero.
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
    blind: tuple[int, ...]
    recovered: tuple[Recovered, ...]
    sources: int
    measured_on: Tensor
    strength: Strength

    @property
    def scores(self) -> NDArray[np.float64]:
        """What classes are compared by (t,).

        Spreads above the same class of clean models, where there are any; else log odds above the middle class and, of
        the leading classes, above the same class in copies of the model if that is less.
        """
        if self.excess is not None:
            return self.excess
        scores = self.contrast.copy()
        for one in self.recovered:
            if one.above_copies is not None:
                row = self.targets.index(one.target)
                scores[row] = min(scores[row], one.above_copies)
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

    def suspicious(self, plan: ScanPlan) -> tuple[Recovered, ...]:
        """Classes that stand out, whose change sends enough of the images that measure, and that others confirm."""
        return tuple(
            one
            for one in self.recovered
            if self.score(one.target) > (plan.contrast if self.excess is None else plan.outlier)
            and one.effect.rate >= plan.rate
            and (one.confirmation is None or one.confirmation.p_value <= plan.error / len(self.recovered))
        )


def scan_classes(
    classifier: Classifier,
    images: Tensor,
    labels: Tensor,
    plan: ScanPlan,
    *,
    rng: Randomness,
    ids: Sequence[str] | None = None,
    units: Sequence[str] | None = None,
    classes: Sequence[int] | None = None,
    null: NDArray[np.float64] | None = None,
    grey: bool = False,
    denoisers: Callable[[float], Callable[[Tensor], Tensor]] | None = None,
    progress: Progress | None = None,
    chunk: int = CHUNK,
) -> ClassScan:
    """Scan classes of a classifier by means of clean images.

    Args:
        classifier: one label, a module of torch.
        images: (n, 3, h, w) in [0, 1]. The first ones are searched on, the others judge.
        labels: classes (n,); where none are known, the classifier's own decisions.
        plan: how much.
        rng: of the noise.
        ids: of the images; noise belongs to them.
        units: unit of each image (n,); every image of its own by default.
        classes: which are scanned; all by default.
        null: rates of these classes in clean models of the same task, by the same plan and images (m, t).
        grey: one noise and one change for all channels, for grey images.
        denoisers: sigma → a denoiser before the network.
        progress: hears of every class.
        chunk: noisy images in one pass.

    Raises:
        InputError: too few images, fewer than three classes, or see :func:`invert`.
    """
    targets = tuple(range(len(classifier.class_names)) if classes is None else classes)
    if len(targets) < 3:
        raise InputError(f"a class stands out among at least three, and {len(targets)} are to be scanned")
    names = tuple(ids) if ids is not None else tuple(str(row) for row in range(len(images)))
    decided = decisions(classifier, images, torch.zeros_like(images[:1]))[0]
    roles = give_roles(
        labels, decided, targets, sources=plan.sources, confirming=plan.confirming if plan.refined else 0, units=units
    )
    searcher = _Searcher(classifier, images, labels, names, units or names, roles, rng, grey, denoisers, chunk)
    listener = progress or Silent()
    strength = Strength(plan.screening.epsilon)
    if plan.usual is not None:
        listener.begin("choose a length", MOST_LENGTHS)
        quick = replace(plan, sources=QUICK_SOURCES)

        def reached_at(epsilon: float) -> float:
            search = replace(quick.at(epsilon).screening, steps=QUICK_STEPS, halve_every=QUICK_STEPS // 2)
            listener.advance("choose a length", 1)
            return float(np.median(searcher.screen(targets, replace(quick, screening=search), Silent()).rates))

        strength = choose_strength(classifier, images, reached_at, wanted=plan.usual, rng=rng.child("radius"))
        listener.finish("choose a length")
        plan = plan.at(strength.epsilon)
    listener.begin("screen", len(targets))
    screened = searcher.screen(targets, plan, listener)
    listener.finish("screen")
    if len(screened.blind) == len(targets):
        raise InputError(
            f"every gradient of {classifier.name} is exactly zero: its outputs are saturated, and nothing can be "
            f"searched for; a model that expects normalised images must normalise inside"
        )
    rates = screened.rates
    above_middle = contrast(rates, plan.spread)
    above = None if null is None else excess(rates, null, plan.null_spread)
    order = [targets[row] for row in np.argsort(-(above_middle if above is None else above), kind="stable")][
        : plan.refined
    ]
    listener.begin("refine", len(order) * len(plan.sigmas))
    recovered = [searcher.refine(target, plan, listener) for target in order]
    listener.finish("refine")
    if plan.copies and null is None and recovered:
        recovered = searcher.beside_copies(recovered, dict(zip(targets, rates, strict=True)), plan, listener)
    return ClassScan(
        targets=targets,
        rates=rates,
        z=robust_z(rates, plan.spread),
        contrast=above_middle,
        excess=above,
        concentration=screened.concentration,
        blind=screened.blind,
        recovered=tuple(sorted(recovered, key=lambda one: -one.effect.rate)),
        sources=roles.searched,
        measured_on=roles.measuring,
        strength=strength,
    )


@dataclass(frozen=True, eq=False)
class _Screened:
    """What short searches towards every class found: see :class:`ClassScan`."""

    rates: NDArray[np.float64]
    concentration: NDArray[np.float64]
    blind: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class _Searcher:
    """One classifier, the images and their roles, and what does not change from search to search."""

    classifier: Classifier
    images: Tensor
    labels: Tensor
    names: Sequence[str]
    units: Sequence[str]
    roles: Roles
    rng: Randomness
    grey: bool
    denoisers: Callable[[float], Callable[[Tensor], Tensor]] | None
    chunk: int

    def screen(self, targets: Sequence[int], plan: ScanPlan, listener: Progress) -> _Screened:
        """Short searches towards every class, on the first of its sources."""
        rates, dense, blind = list[float](), list[float](), list[int]()
        for target in targets:
            reached, everywhere_zero = list[tuple[float, float]](), True
            for sigma in plan.screened:
                found = self._invert(target, self.roles.sources[target][: plan.sources], _at(plan.screening, sigma))
                share = self._sent(found.changes, self.roles.choosing, target).mean()
                reached.append((float(share), float(concentration(found.changes).mean())))
                everywhere_zero &= bool(found.blind.all())
            best_rate, its_concentration = max(reached, key=lambda one: one[0])
            rates.append(best_rate)
            dense.append(its_concentration)
            if everywhere_zero:
                blind.append(target)
            listener.advance("screen", 1)
        return _Screened(np.array(rates), np.array(dense), tuple(blind))

    def refine(self, target: int, plan: ScanPlan, listener: Progress) -> Recovered:
        """Longer searches towards one class, and whether further images confirm what the best of them found."""
        sources = self.roles.sources[target]
        tried: list[tuple[float, Tensor, int, float, float]] = []
        for sigma in plan.sigmas:
            found = self._invert(target, sources, _at(plan.refinement, sigma))
            sent = self._sent(found.changes, self.roles.choosing, target)
            best = int(sent.argmax())
            probability = float(found.probability[best])
            tried.append((float(sent[best]), found.changes[best], sources[best], sigma, probability))
            listener.advance("refine", 1)
        _, change, source, sigma, probability = max(tried, key=lambda one: one[0])
        rows = self.roles.measuring
        effect = transfer(self.classifier, change, self.images[rows], self.labels[rows], target)
        return Recovered(target, change, source, sigma, probability, effect, self._confirm(target, sigma, plan))

    def beside_copies(
        self, recovered: Sequence[Recovered], rates: Mapping[int, float], plan: ScanPlan, listener: Progress
    ) -> list[Recovered]:
        """The same short searches in copies of the model, which are tuned on images that choose nothing."""
        chosen = set(self.roles.choosing.tolist())
        rows = [row for row in range(len(self.images)) if row not in chosen]
        copies = tuned_copies(
            self.classifier,
            self.images[rows],
            self.labels[rows],
            plan.copies,
            ids=[self.names[row] for row in rows],
            rng=self.rng.child("copies"),
        )
        listener.begin("compare with copies", plan.copies)
        leading, found = [one.target for one in recovered], list[NDArray[np.float64]]()
        for one in copies:
            found.append(replace(self, classifier=one).screen(leading, plan, Silent()).rates)
            listener.advance("compare with copies", 1)
        listener.finish("compare with copies")
        usual = np.array(found)  # (copies, leading)
        return [
            replace(
                one,
                copied=tuple(usual[:, place].tolist()),
                above_copies=float(
                    log_odds(rates[one.target], plan.spread) - log_odds(usual[:, place].max(), plan.spread)
                ),
            )
            for place, one in enumerate(recovered)
        ]

    def _confirm(self, target: int, sigma: float, plan: ScanPlan) -> Confirmation | None:
        # Images of one unit are not independent: the first of each counts.
        rows = list({self.units[row]: row for row in reversed(self.roles.confirming[target])}.values())
        if not rows:
            return None
        found = self._invert(target, rows, _at(plan.refinement, sigma))
        sent = self._sent(found.changes, self.roles.measuring, target)
        return Confirmation(int((sent >= plan.rate).sum()), len(rows))

    def _invert(self, target: int, rows: Sequence[int], search: Search) -> Inverted:
        return invert(
            self.classifier,
            self.images[list(rows)],
            torch.full((len(rows),), target, dtype=torch.int64, device=self.images.device),
            search,
            rng=self.rng.child("towards", target).for_examples([self.names[row] for row in rows]),
            grey=self.grey,
            denoise=None if self.denoisers is None or search.sigma == 0 else self.denoisers(search.sigma),
            chunk=self.chunk,
        )

    def _sent(self, changes: Tensor, rows: Tensor, target: int) -> Tensor:
        return _rates(self.classifier, changes, self.images[rows], self.labels[rows], target)


def _at(search: Search, sigma: float) -> Search:
    """The same search at another noise; without noise, copies would all be the same."""
    return replace(search, sigma=sigma, samples=search.samples if sigma else 1)


def _rates(classifier: Classifier, changes: Tensor, images: Tensor, labels: Tensor, target: int) -> Tensor:
    """Share of the images of other classes that each change sends to the target: (b,)."""
    others = (labels != target).nonzero().flatten()
    if not len(others):
        return torch.zeros(len(changes))
    return (decisions(classifier, images[others], changes) == target).double().mean(1)
