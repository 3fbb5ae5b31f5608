"""Which class of a classifier, if any, a change of one image reaches from everywhere: all classes, then the first few.

Every class is screened with the same few steps, because only equal budgets can be compared; the statistic comes from
these. The classes that lead are searched again with more steps, for a change that is worth showing. Other images say
how far a change carries over: half of them chooses among changes, and the other half alone measures the chosen one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.methods.smoothing.votes import CHUNK
from snellen.systems.smooth_inversion.class_outliers import contrast, excess, log_odds, robust_z
from snellen.systems.smooth_inversion.class_scan import ClassScan, Confirmation, Recovered, ScanPlan
from snellen.systems.smooth_inversion.copies import tuned_copies
from snellen.systems.smooth_inversion.fidelity import concentration
from snellen.systems.smooth_inversion.image_roles import Roles, give_roles
from snellen.systems.smooth_inversion.inversion import Inverted, Search, invert
from snellen.systems.smooth_inversion.strength import MOST_LENGTHS, Strength, choose_strength
from snellen.systems.smooth_inversion.transfer import decisions, transfer

#: The search that chooses the length: images and steps for each class.
QUICK_SOURCES, QUICK_STEPS = 2, 20


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
    first: int | None = None,
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
        first: the one of them that is searched again, in place of the leading ones; None: these.
        null: rates of these classes in clean models of the same task, by the same plan and images (m, t).
        grey: one noise and one change for all channels, for grey images.
        denoisers: sigma → a denoiser before the network.
        progress: callback that receives progress updates.
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
    if len(screened.zero_gradients) == len(targets):
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
    if first is not None and plan.refined:
        order = [first]
    listener.begin("refine", len(order) * len(plan.sigmas))
    recovered = [searcher.refine(target, plan, listener) for target in order]
    listener.finish("refine")
    if plan.copies and null is None and recovered:
        recovered = searcher.beside_copies(recovered, dict(zip(targets, rates, strict=True)), plan, listener)
    scan = ClassScan(
        targets=targets,
        rates=rates,
        z=robust_z(rates, plan.spread),
        contrast=above_middle,
        excess=above,
        concentration=screened.concentration,
        zero_gradients=screened.zero_gradients,
        recovered=tuple(sorted(recovered, key=lambda one: -one.effect.rate)),
        sources=roles.searched,
        measured_on=roles.measuring,
        strength=strength,
    )
    return replace(scan, recovered=searcher.confirmed(scan, plan, listener)) if plan.confirming else scan


@dataclass(frozen=True, eq=False)
class _Screened:
    """What short searches towards every class found: see :class:`ClassScan`."""

    rates: NDArray[np.float64]
    concentration: NDArray[np.float64]
    zero_gradients: tuple[int, ...]


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
        rates, dense, zero_gradients = list[float](), list[float](), list[int]()
        for target in targets:
            reached, everywhere_zero = list[tuple[float, float]](), True
            for sigma in plan.screened:
                found = self._invert(target, self.roles.sources[target][: plan.sources], _at(plan.screening, sigma))
                share = self._sent(found.changes, self.roles.choosing, target).mean()
                reached.append((float(share), float(concentration(found.changes).mean())))
                everywhere_zero &= bool(found.zero_gradients.all())
            best_rate, its_concentration = max(reached, key=lambda one: one[0])
            rates.append(best_rate)
            dense.append(its_concentration)
            if everywhere_zero:
                zero_gradients.append(target)
            listener.advance("screen", 1)
        return _Screened(np.array(rates), np.array(dense), tuple(zero_gradients))

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
        return Recovered(target, change, source, sigma, probability, effect)

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

    def confirmed(self, scan: ClassScan, plan: ScanPlan, listener: Progress) -> tuple[Recovered, ...]:
        """All classes that were searched again; those that stand out with further images, up to one that fails."""
        outstanding, tried = scan.outstanding(plan), dict[int, Recovered]()
        listener.begin("confirm", len(outstanding))
        for one in outstanding:
            confirmation = self._confirm(one.target, one.sigma, plan)
            tried[one.target] = replace(one, confirmation=confirmation)
            listener.advance("confirm", 1)
            if not confirmation.holds(plan):
                break
        listener.finish("confirm")
        return tuple(tried.get(one.target, one) for one in scan.recovered)

    def _confirm(self, target: int, sigma: float, plan: ScanPlan) -> Confirmation:
        # Images of one unit are not independent: the first of each counts.
        rows = list({self.units[row]: row for row in reversed(self.roles.confirming[target])}.values())
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
