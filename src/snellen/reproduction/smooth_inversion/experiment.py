"""System 33, a trigger recovered from one image: with noise, without, by masks, and in a clean network.

Small networks of garments with a patch at a fixed place, one at changing places, a single pixel, and none. A change is
searched for from each of some images, as long as the trigger itself and twice as long, and judged on others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from snellen.core.progress import Progress
from snellen.core.randomness import Randomness, derive_seed
from snellen.core.system import Scale
from snellen.reproduction.sample import Figure, Sample, mean_of
from snellen.reproduction.smooth_inversion.full import full
from snellen.reproduction.smooth_inversion.planted_models import Kind, Planted, Sizes, named, planted_model
from snellen.systems.smooth_inversion.class_scan import ScanPlan
from snellen.systems.smooth_inversion.fidelity import alignment, energy_inside
from snellen.systems.smooth_inversion.inversion import Search, invert
from snellen.systems.smooth_inversion.mask_pattern import MaskSearch, invert_masks
from snellen.systems.smooth_inversion.scanning import scan_classes
from snellen.systems.smooth_inversion.transfer import decisions

#: Noise of the searches; 0 is the plain attack, with one copy.
SIGMAS = (0.0, 0.12, 0.25, 0.5)


@dataclass(frozen=True)
class Amount:
    """How much is drawn.

    Attributes:
        sizes: of the networks' training and test.
        sources: images that are searched on.
        choosing: other images that choose a sigma, and as many again that measure.
        search: at every sigma.
        lengths: of the change, in lengths of the trigger.
        samples: numbers of noisy copies that are compared.
        masks: the search of the baseline.
        plan: the scan of all classes.
        scanned: images of that scan.
    """

    sizes: Sizes
    sources: int
    choosing: int
    search: Search
    lengths: tuple[int, ...]
    samples: tuple[int, ...]
    masks: MaskSearch
    plan: ScanPlan
    scanned: int


SMALL = Amount(
    sizes=Sizes(),
    sources=8,
    choosing=200,
    search=Search(samples=20, steps=100, halve_every=75, rate=0.1),
    lengths=(1, 2),
    samples=(1, 5, 10, 40),
    masks=MaskSearch(steps=100),
    plan=ScanPlan(refined=1),
    scanned=200,
)
_FEW = Search(samples=2, steps=3)
SMOKE = Amount(
    sizes=Sizes(train=120, test=60, epochs=1),
    sources=2,
    choosing=15,
    search=_FEW,
    lengths=(1, 2),
    samples=(1, 5, 10, 40),
    masks=MaskSearch(steps=3),
    plan=ScanPlan(screening=_FEW, refinement=_FEW, sigmas=(0.25,), sources=1, refined=1),
    scanned=40,
)

PLANTED: tuple[Kind, ...] = ("patch", "moving", "pixel")


def backdoor_inversion(scale: Scale, seed: int, progress: Progress) -> Mapping[str, Figure]:
    """Measure the claims of system 33.

    Returns:
        For each KIND of trigger: ``KIND.accuracy_lost`` to the clean network, ``KIND.true_success``; at the trigger's
        own length ``KIND.success.S`` and ``KIND.inside.S`` with S ``0``, ``0.12``, ``0.25``, ``0.5``, for each source
        image the share of other images sent and of the energy in the true mask, ``KIND.cosine.S``; of the sigma that
        other images choose ``KIND.success.chosen``, of the best one ``KIND.success.oracle``, and their
        ``KIND.oracle_gap``; the same at twice the length as ``KIND.twice.…``; ``KIND.masks.success`` of the baseline,
        and ``KIND.masks.reached``, whether it moved the image that it was searched on; ``KIND.rank`` of the target
        among all classes and ``KIND.z`` of it. ``clean.…`` is the clean network, towards the same target, at the
        patch's lengths, ``clean.moving.…`` at the length of the moving patch, ``clean.z`` the largest of its classes.
        ``samples.N`` is patch.success at sigma 0.25 with N copies, ``samples.gap`` the difference of 10 to 40. At
        full scale: :func:`snellen.reproduction.smooth_inversion.full.full`.
    """
    if scale == "full":
        return full(seed, progress)
    amount, prefix = (SMOKE, "smoke.") if scale == "smoke" else (SMALL, "")
    rng, figures = Randomness(seed), dict[str, Figure]()
    clean = planted_model("clean", "garments", seed, sizes=amount.sizes, progress=progress)
    target = derive_seed(seed, "target") % len(clean.classifier.class_names)
    found = dict[str, Planted]()
    for kind in PLANTED:
        planted = found[kind] = planted_model(kind, "garments", seed, sizes=amount.sizes, progress=progress)
        figures |= {f"{kind}.{name}": value for name, value in _measured(planted, target, amount, rng).items()}
        figures[f"{kind}.accuracy_lost"] = clean.accuracy() - planted.accuracy()
        figures[f"{kind}.true_success"] = planted.success()
        figures |= {f"{kind}.{name}": value for name, value in _ranked(planted, target, amount, rng).items()}
    patch, lengths = found["patch"], {times: times * _length(found["patch"], target) for times in amount.lengths}
    figures |= {f"clean.{name}": value for name, value in _measured(clean, target, amount, rng, lengths).items()}
    searched = _searched(clean, target, amount, rng, {1: _length(found["moving"], target)})
    figures |= {f"clean.moving.{name}": value for name, value in searched.items()}
    figures |= {f"clean.{name}": value for name, value in _ranked(clean, target, amount, rng).items()}
    figures["clean.accuracy"] = clean.accuracy()
    length, rows = _length(patch, target), _rows(patch, target, amount)
    for samples in amount.samples:
        search = replace(amount.search, epsilon=length, sigma=0.25, samples=samples)
        changes = _changes(patch, target, rows.sources, search, rng)
        figures[f"samples.{samples}"] = _sample(_sent(patch, changes, rows.measuring, target))
    few, many = mean_of(figures["samples.10"]), mean_of(figures["samples.40"])
    figures["samples.gap"] = None if few is None or many is None else abs(few - many)
    return {prefix + name: value for name, value in figures.items()}


backdoor_inversion.stand_ins = {  # type: ignore[attr-defined]
    "smoke": ("120 training images, one epoch, three steps",),
    "small": (
        "Fashion-MNIST of 28 pixels for ImageNet, and networks of 45 thousand weights for ResNet-18",
        "triggers planted in 10 % of 6,000 training images: a checkered patch of 3 pixels at one corner, one of 5 at a "
        "place drawn for each image, a single white pixel",
        "changes as long as the trigger and twice as long for epsilon 5 and 10; 20 noisy copies and 100 steps for 40 "
        "and 400; one grey noise and change for all channels; no diffusion model",
        "8 source images, 200 others that choose and 200 that measure",
    ),
    "full": ("see full.py",),
}


@dataclass(frozen=True, eq=False)
class Rows:
    """Which test images are searched on, choose and measure; all of other classes than the target.

    Those that are taken for the target as they are come last: only a network that has hardly learnt gets to them.
    """

    sources: Tensor
    choosing: Tensor
    measuring: Tensor


def _rows(planted: Planted, target: int, amount: Amount) -> Rows:
    others = (planted.labels != target).nonzero().flatten()
    there = named(planted.classifier, planted.images)[others] == target
    others = others[there.sort(stable=True).indices]
    sources, rest = others[: amount.sources], others[amount.sources :]
    return Rows(sources, rest[: amount.choosing], rest[amount.choosing : 2 * amount.choosing])


def _length(planted: Planted, target: int) -> float:
    """Mean l2 length of what the true trigger does to images of other classes."""
    assert planted.stamped is not None
    others = planted.labels != target
    return float((planted.stamped - planted.images)[others].flatten(1).norm(dim=1).mean())


def _changes(planted: Planted, target: int, rows: Tensor, search: Search, rng: Randomness) -> Tensor:
    ids = [str(row) for row in rows.tolist()]
    wanted = torch.full((len(rows),), target, dtype=torch.int64)
    own = rng.child("inversion").for_examples(ids)
    return invert(planted.classifier, planted.images[rows], wanted, search, rng=own, grey=True).changes


def _sent(planted: Planted, changes: Tensor, rows: Tensor, target: int) -> Tensor:
    """Share of some images that each change sends to the target (b,)."""
    return torch.eq(decisions(planted.classifier, planted.images[rows], changes), target).double().mean(1)


def _measured(
    planted: Planted, target: int, amount: Amount, rng: Randomness, lengths: Mapping[int, float] | None = None
) -> dict[str, Figure]:
    """Every sigma at every length, and the baseline; lengths are given where the network has no trigger of its own."""
    if lengths is None:
        lengths = {times: times * _length(planted, target) for times in amount.lengths}
    figures, rows = _searched(planted, target, amount, rng, lengths), _rows(planted, target, amount)
    shown = planted.images[rows.sources][:, None]
    wanted = torch.full((len(rows.sources),), target, dtype=torch.int64)
    masks = invert_masks(planted.classifier, shown, wanted, amount.masks, rng=rng.child("masks"))
    others = planted.images[rows.measuring]
    sent = [named(planted.classifier, masks.applied(others, number)) == target for number in range(len(wanted))]
    figures["masks.success"] = _sample(torch.stack(sent).double().mean(1))
    figures["masks.reached"] = _sample(masks.reached)
    return figures


def _searched(
    planted: Planted, target: int, amount: Amount, rng: Randomness, lengths: Mapping[int, float]
) -> dict[str, Figure]:
    """Every sigma at every length; a value for each source image."""
    rows, figures = _rows(planted, target, amount), dict[str, Figure]()
    for times, length in lengths.items():
        before = "" if times == 1 else "twice."
        chosen, measured = list[Tensor](), list[Tensor]()
        for sigma in SIGMAS:
            samples = amount.search.samples if sigma else 1
            search = replace(amount.search, epsilon=length, sigma=sigma, samples=samples)
            changes = _changes(planted, target, rows.sources, search, rng)
            chosen.append(_sent(planted, changes, rows.choosing, target))
            measured.append(_sent(planted, changes, rows.measuring, target))
            figures[f"{before}success.{sigma:g}"] = _sample(measured[-1])
            if planted.stamped is not None and planted.region is not None:
                truth = (planted.stamped - planted.images)[rows.sources]
                figures[f"{before}inside.{sigma:g}"] = _sample(energy_inside(changes, planted.region[rows.sources]))
                figures[f"{before}cosine.{sigma:g}"] = _sample(alignment(changes, truth))
        taken, every = torch.stack(chosen).argmax(0), torch.stack(measured)
        found, best = every.gather(0, taken[None])[0], every.amax(0)
        figures[f"{before}success.chosen"] = _sample(found)
        figures[f"{before}success.oracle"] = _sample(best)
        figures[f"{before}oracle_gap"] = _sample(best - found)
    return figures


def _sample(values: Tensor) -> Sample:
    """A value for each source image."""
    return Sample.of(values.double().tolist())


def _ranked(planted: Planted, target: int, amount: Amount, rng: Randomness) -> dict[str, float]:
    """Rank of the target among all classes, 1 is the first; its z, or the largest of a clean network."""
    some = slice(None, amount.scanned)
    found = scan_classes(
        planted.classifier, planted.images[some], planted.labels[some], amount.plan, rng=rng.child("scan"), grey=True
    )
    rank = float(found.ranking.index(target) + 1)
    return {
        "rank": rank,
        "z": float(np.max(found.z)) if planted.target is None else float(found.z[found.targets.index(target)]),
    }
