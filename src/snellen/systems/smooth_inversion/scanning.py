"""Which class of a classifier, if any, a change of one image reaches from everywhere: all classes, then the first few.

Every class is screened with the same few steps, because only equal budgets can be compared; the statistic comes from
these. The classes that lead are searched again with more steps, for a change that is worth looking at. Other images say
how far a change carries over: half of them chooses among changes, and the other half alone measures the chosen one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.methods.smoothing.votes import CHUNK
from snellen.systems.smooth_inversion.class_outliers import excess, robust_z
from snellen.systems.smooth_inversion.fidelity import concentration
from snellen.systems.smooth_inversion.inversion import Search, invert
from snellen.systems.smooth_inversion.transfer import Transfer, decisions, transfer

#: Fewest other images that a change is judged on, those that choose and those that measure together.
FEWEST = 20


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
        spread: smallest spread of the rates of the classes, in shares of the images.
        null_spread: the same of the rates of one class among clean models.
        outlier: spreads from which a class stands out.
        rate: share of other images that the change must send to the class besides.
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
    rate: float = 0.3


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
    """

    target: int
    change: Tensor
    source: int
    sigma: float
    probability: float
    effect: Transfer


@dataclass(frozen=True, eq=False)
class ClassScan:
    """What a scan of all classes found.

    Attributes:
        targets: classes that were scanned (t,).
        rates: share of other images that the screening's changes send to each, mean over sources (t,).
        z: robust deviations of the rates from those of the other classes (t,).
        excess: deviations from the rates of the same class in clean models (t,); None where none were given.
        concentration: share of the energy of the screening's changes in 2 % of the pixels, mean over sources (t,).
        blind: classes towards which every gradient was zero.
        recovered: of the classes that were searched again, the best first.
        sources: images that changes were searched on.
        measured_on: positions of the images that measure.
    """

    targets: tuple[int, ...]
    rates: NDArray[np.float64]
    z: NDArray[np.float64]
    excess: NDArray[np.float64] | None
    concentration: NDArray[np.float64]
    blind: tuple[int, ...]
    recovered: tuple[Recovered, ...]
    sources: int
    measured_on: Tensor

    @property
    def scores(self) -> NDArray[np.float64]:
        """What classes are compared by (t,): against clean models where there are any, else among each other."""
        return self.z if self.excess is None else self.excess

    @property
    def statistic(self) -> float:
        """Largest score of a class."""
        return float(self.scores.max())

    @property
    def ranking(self) -> tuple[int, ...]:
        """Classes by score, the highest first; ties by rate, then by number."""
        return tuple(self.targets[row] for row in np.lexsort((-self.rates, -self.scores)))

    def score(self, target: int) -> float:
        """Score of a class."""
        return float(self.scores[self.targets.index(target)])

    def suspicious(self, plan: ScanPlan) -> tuple[Recovered, ...]:
        """Classes that stand out, and whose change sends enough of the images that measure."""
        return tuple(
            one for one in self.recovered if self.score(one.target) > plan.outlier and one.effect.rate >= plan.rate
        )


def scan_classes(
    classifier: Classifier,
    images: Tensor,
    labels: Tensor,
    plan: ScanPlan,
    *,
    rng: Randomness,
    ids: Sequence[str] | None = None,
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
        images: (n, 3, h, w) in [0, 1]. The first ones are the sources, the others judge.
        labels: classes (n,); where none are known, the classifier's own decisions.
        plan: how much.
        rng: of the noise.
        ids: of the images; noise belongs to them.
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
    sources = _sources(labels, decided, targets, plan.sources)
    kept = max(max(rows) for rows in sources.values()) + 1
    if len(images) - kept < FEWEST:
        raise InputError(
            f"a change that is found on one image is judged on others: of {len(images)} images {kept} are searched on, "
            f"and at least {FEWEST} others are needed; give {kept + FEWEST} or more"
        )
    others = torch.arange(kept, len(images))
    choosing, measuring = others[::2], others[1::2]
    listener = progress or Silent()
    listener.begin("screen", len(targets))
    rates, dense, blind = list[float](), list[float](), list[int]()
    for target in targets:
        reached, everywhere_zero = list[tuple[float, float]](), True
        for sigma in plan.screened:
            search = _at(plan.screening, sigma)
            wanted = _towards(images, sources[target], target, search, rng, names, denoisers)
            found = invert(classifier, **wanted, grey=grey, chunk=chunk)
            share = _rates(classifier, found.changes, images[choosing], labels[choosing], target).mean()
            reached.append((float(share), float(concentration(found.changes).mean())))
            everywhere_zero &= bool(found.blind.all())
        best_rate, its_concentration = max(reached, key=lambda one: one[0])
        rates.append(best_rate)
        dense.append(its_concentration)
        if everywhere_zero:
            blind.append(target)
        listener.advance("screen", 1)
    listener.finish("screen")
    if len(blind) == len(targets):
        raise InputError(
            f"every gradient of {classifier.name} is exactly zero: its outputs are saturated, and nothing can be "
            f"searched for; a model that expects normalised images must normalise inside"
        )
    z = robust_z(rates, plan.spread)
    above = None if null is None else excess(rates, null, plan.null_spread)
    order = [targets[row] for row in np.argsort(-(z if above is None else above), kind="stable")][: plan.refined]
    listener.begin("refine", len(order) * len(plan.sigmas))
    recovered = []
    for target in order:
        tried: list[tuple[float, Tensor, int, float, float]] = []
        for sigma in plan.sigmas:
            search = _at(plan.refinement, sigma)
            wanted = _towards(images, sources[target], target, search, rng, names, denoisers)
            found = invert(classifier, **wanted, grey=grey, chunk=chunk)
            sent = _rates(classifier, found.changes, images[choosing], labels[choosing], target)
            best = int(sent.argmax())
            tried.append(
                (
                    float(sent[best]),
                    found.changes[best],
                    sources[target][best],
                    sigma,
                    float(found.probability[best]),
                )
            )
            listener.advance("refine", 1)
        _, change, source, sigma, probability = max(tried, key=lambda one: one[0])
        effect = transfer(classifier, change, images[measuring], labels[measuring], target)
        recovered.append(Recovered(target, change, source, sigma, probability, effect))
    listener.finish("refine")
    return ClassScan(
        targets=targets,
        rates=np.array(rates),
        z=z,
        excess=above,
        concentration=np.array(dense),
        blind=tuple(blind),
        recovered=tuple(sorted(recovered, key=lambda one: -one.effect.rate)),
        sources=kept,
        measured_on=measuring,
    )


def _at(search: Search, sigma: float) -> Search:
    """The same search at another noise; without noise, copies would all be the same."""
    return replace(search, sigma=sigma, samples=search.samples if sigma else 1)


def _sources(labels: Tensor, decided: Tensor, targets: Sequence[int], count: int) -> dict[int, list[int]]:
    """The first images of other classes, for each target; those that the classifier takes for others too come first."""
    found = {}
    for target in targets:
        others = (labels.cpu() != target).nonzero().flatten()
        found[target] = others[(decided[others] == target).sort(stable=True).indices][:count].tolist()
    lacking = [target for target, rows in found.items() if len(rows) < count]
    if lacking:
        raise InputError(
            f"a search towards class number {lacking[0]} needs {count} images of other classes, and there are only "
            f"{len(found[lacking[0]])}; give more images, or lower sources"
        )
    return found


def _towards(
    images: Tensor,
    rows: Sequence[int],
    target: int,
    search: Search,
    rng: Randomness,
    names: Sequence[str],
    denoisers: Callable[[float], Callable[[Tensor], Tensor]] | None,
) -> dict[str, Any]:
    """Arguments of :func:`invert` for some images and one target."""
    return {
        "images": images[list(rows)],
        "targets": torch.full((len(rows),), target, dtype=torch.int64, device=images.device),
        "search": search,
        "rng": rng.child("towards", target).for_examples([names[row] for row in rows]),
        "denoise": None if denoisers is None or search.sigma == 0 else denoisers(search.sigma),
    }


def _rates(classifier: Classifier, changes: Tensor, images: Tensor, labels: Tensor, target: int) -> Tensor:
    """Share of the images of other classes that each change sends to the target: (b,)."""
    others = (labels != target).nonzero().flatten()
    if not len(others):
        return torch.zeros(len(changes))
    return (decisions(classifier, images[others], changes) == target).double().mean(1)
