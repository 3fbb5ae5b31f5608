"""Why equal shares (28.b) and two attributes at once (28.d) miss their bars: docs/measured/control-causes.

    python scripts/measure.py distributional_control --part target --set seed=2000
    python scripts/measure.py distributional_control --part fits --set seed=1003 --set control=balanced --set times=2
    python scripts/measure.py distributional_control --part fits --set control=joint --set times=1 --set weight=20

``target`` measures what a perfect control would reach: the generator's own images, weighted as the target weighs them,
by the judge of the record (seeds from 2000). For two attributes it also takes larger weights λ, and the images in
which the guides are certain. ``fits`` fits a control of a seed of the record again, ``balanced`` or ``joint``, with the
same draws (seeds from 1000). It takes ``times`` as many steps, or another λ (``weight``). A seed of ``target`` takes a
minute of a core; ``fits`` takes one for each ``times``. Each is a file; one that is there is left alone.

Written before any of them ran: if too few steps are the cause, the target is within both bars. The longer fits then
have a divergence below 0.03 nats and both attributes in more than 80 % of their images. Seed 2000 then showed both
attributes in 75 % of the target itself, which no number of steps mends. The larger weights were added after that. So
were those of equal shares, when twice the steps had hardly brought them nearer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snellen.core.progress import Progress
from snellen.reproduction.distributional_control.experiment import Experiment
from snellen.reproduction.distributional_control.materials import SMALL, small_material
from snellen.reproduction.shared.documents import Measurements, is_measured, measured_path, write_measured
from snellen.systems.distributional_control.control import Control
from snellen.systems.distributional_control.controlling import moments_of
from snellen.systems.distributional_control.divergence import divergence
from snellen.systems.distributional_control.energies import ClassEnergy, MomentEnergy, Weighted, total_energy
from snellen.systems.distributional_control.fitting import fit_control
from snellen.systems.distributional_control.moment_constraint import effective_size, fit_moments

#: Images of the generator that stand for its distribution.
OWN = 8192


def measure_target(root: Path, progress: Progress, *, seed: int = 2000) -> None:
    """What the judge sees in the generator's own images, weighted as the two targets weigh them."""
    if is_measured(path := _path(root, f"target-{seed}")):
        return
    one = Experiment(small_material(), SMALL, seed, progress)
    images, targets = one.material.generator.images(one.noise("target", OWN)), _targets(one)
    weights = torch.softmax(-_energy(images, targets["balanced"]), 0)
    shares = _shares(one, images, weights)
    found: dict[str, Any] = {
        "part": "target",
        "seed": seed,
        "balanced": {
            "effective": effective_size(weights),
            "shares": shares.tolist(),
            "divergence": divergence(shares),
        },
    }
    both, surprise = _both(one, images), _energy(images, targets["joint"]) / SMALL.weight
    found["joint"] = [
        {"weight": times * SMALL.weight, **_weighted(torch.softmax(-times * SMALL.weight * surprise, 0), both)}
        for times in (1, 2, 4)
    ]
    # Where both guides together are this certain, for any weight.
    found["certain"] = [
        {"least": least, **_weighted((surprise.neg().exp() > least).double(), both)} for least in (0.5, 0.9, 0.99)
    ]
    write_measured(path, found)


def _weighted(weights: Tensor, both: Tensor) -> dict[str, float]:
    """Effective number of the weighted images, and the judge's share of both attributes in them."""
    return {"effective": effective_size(weights), "both": float(weights @ both / weights.sum())}


def measure_fits(
    root: Path,
    progress: Progress,
    *,
    seed: int = 1000,
    control: str = "balanced",
    times: int = 2,
    weight: float | None = None,
) -> None:
    """A control of a seed of the record, with more steps or another λ than the record's: what the judge sees."""
    end = "" if weight is None else f"-{weight:g}"
    if is_measured(path := _path(root, f"{control}-{seed}-{times}{end}")):
        return
    one = Experiment(small_material(), SMALL, seed, progress)
    generator, terms = one.material.generator, _targets(one, weight)[control]
    fit = SMALL.fit.model_copy(update={"steps": times * SMALL.fit.steps})
    fitted = fit_control(generator, terms, fit=fit, rng=one.rng(control), progress=progress)
    images = Control(generator, fitted.network).images_of(one.noise(control))
    equal = torch.full((len(images),), 1 / len(images), dtype=torch.float64)
    # The loss is KL(p_θ ‖ target) − log Z + d/2, with Z the mean of exp(−E) over the generator's own images.
    own = _energy(generator.images(one.noise("target", OWN // 4)), terms)
    log_mass = float(torch.logsumexp(-own, 0)) - math.log(len(own))
    nats = {row["step"]: row["loss"] + log_mass - generator.dimension / 2 for row in fitted.history}
    write_measured(
        path,
        {
            "part": "fits",
            "seed": seed,
            "control": control,
            "times": times,
            "weight": weight,
            "kept": fitted.kept,
            "nats_to_target": nats[fitted.kept],
            "entropy": fitted.variety.entropy,
            "divergence": divergence(_shares(one, images, equal)),
            "shares": _shares(one, images, equal).tolist(),
            "both": float(equal @ _both(one, images)),
        },
    )


def _targets(one: Experiment, weight: float | None = None) -> dict[str, Sequence[Weighted]]:
    """The energies of both claims, by the name of their random stream in the record."""
    first, second = one.material.first, one.material.second
    classes, moments = (SMALL.weight, 1.0) if weight is None else (weight, weight)
    shares = torch.tensor(one.equal_shares(1.0).shares)
    gamma = moments_of(one.material.generator, first.classifier, SMALL.samples, one.rng("balanced"), 1.0)
    beta = fit_moments(gamma, shares, names=first.classifier.class_names).beta
    return {
        "balanced": [Weighted(MomentEnergy(first.classifier, beta), moments)],
        "joint": [
            Weighted(ClassEnergy(first.classifier, {one.material.pair: 1.0}), classes),
            Weighted(ClassEnergy(second.classifier, {second.wanted: 1.0}), classes),
        ],
    }


def _energy(images: Tensor, terms: Sequence[Weighted]) -> Tensor:
    """Weighted energy of each image, float64 (n,)."""
    with torch.no_grad():
        parts = [total_energy(terms, part, None, torch.Generator()).cpu() for part in images.split(128)]
    return torch.cat(parts).double()


def _shares(one: Experiment, images: Tensor, weights: Tensor) -> Tensor:
    """The judge's classes in weighted images, float64 (k,)."""
    first = one.material.first
    return torch.bincount(first.seen(images), weights=weights, minlength=len(first.balanced))


def _both(one: Experiment, images: Tensor) -> Tensor:
    """Whether the judge sees both attributes of 28.d in each image, float64 (n,)."""
    first, second = one.material.first, one.material.second
    return (first.hits(images, one.material.pair) & second.hits(images)).double()


def _path(root: Path, name: str) -> Path:
    return measured_path(root, f"control-causes/{name}")


MEASUREMENTS: Measurements = {"target": measure_target, "fits": measure_fits}
