"""Why two bars of the record were missed: docs/measured/control-gaps.json.

Equal shares: the target itself, by the generator's own images weighted with exp(βᵀγ), beside what the fitted network
draws, each by the classifier that guides and by the judge. Two attributes: what each of the two sees. The seed is that
of no record. Takes about three minutes of one core.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from snellen.core.progress import Progress
from snellen.reproduction.distributional_control.experiment import Experiment
from snellen.reproduction.distributional_control.materials import SMALL, small_material
from snellen.reproduction.shared.documents import Measurements, measured_path
from snellen.systems.distributional_control.control import Control
from snellen.systems.distributional_control.divergence import divergence
from snellen.systems.distributional_control.energies import ClassEnergy, Weighted, class_probabilities
from snellen.systems.distributional_control.fitting import fit_control
from snellen.systems.distributional_control.moment_constraint import fit_moments, weights_of

#: Seed of everything random, and the weights λ of equal shares that are tried.
SEED, WEIGHTS = 50, (1.0, 1.3)


def measure_gaps(root: Path, progress: Progress) -> None:
    """Write shares and divergences, by who judges."""
    experiment = Experiment(small_material(), SMALL, SEED, progress)
    found = {"seed": SEED, "shares": _shares(experiment), "pair": _pair(experiment)}
    measured_path(root, "control-gaps").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _shares(experiment: Experiment) -> list[dict[str, object]]:
    """Divergence from equal shares: of the generator, of the target, and of controls."""
    first, count = experiment.material.first, SMALL.samples
    own = experiment.material.generator.images(experiment.noise("own", count))
    gamma = _gamma(experiment, own)
    moments = fit_moments(gamma, torch.full((gamma.shape[1],), 1 / gamma.shape[1]))
    target = weights_of(gamma, torch.tensor(moments.beta))
    even = torch.full((count,), 1 / count, dtype=torch.float64)
    rows = [_row(experiment, "generator", own, even), _row(experiment, "target", own, target)]
    for weight in WEIGHTS:
        name = f"control, weight {weight:g}"
        control = experiment.fitted("balanced", experiment.equal_shares(weight), SMALL.fit)
        images = control.images_of(experiment.noise("balanced"))
        rows.append(_row(experiment, name, images, torch.full((len(images),), 1 / len(images), dtype=torch.float64)))
    assert len(first.balanced) == gamma.shape[1]
    return rows


def _row(experiment: Experiment, name: str, images: Tensor, weights: Tensor) -> dict[str, object]:
    """Shares of the classes of weighted images, by the guide's probabilities, by its decisions and by the judge's."""
    first = experiment.material.first
    places = len(first.balanced)
    decided = {"guide": first.seen(images, first.classifier), "judge": first.seen(images)}
    shares = {
        who: torch.zeros(places, dtype=torch.float64).index_add(0, seen, weights) for who, seen in decided.items()
    }
    return {
        "of": name,
        "probabilities": (weights @ _gamma(experiment, images).double()).tolist(),
        **{f"{who}.shares": one.tolist() for who, one in shares.items()},
        **{f"{who}.divergence": divergence(one) for who, one in shares.items()},
    }


def _gamma(experiment: Experiment, images: Tensor) -> Tensor:
    """γ of images by the guide, in the order of the balanced classes."""
    first = experiment.material.first
    with torch.no_grad():
        seen = torch.cat([class_probabilities(first.classifier, part).cpu() for part in images.split(128)])
    return seen[:, [first.classifier.class_names.index(name) for name in first.balanced]]


def _pair(experiment: Experiment) -> dict[str, float]:
    """Two attributes at once: shares of images in which guides and judge see the first, the second, and both."""
    first, second, size = experiment.material.first, experiment.material.second, experiment.size
    pair = Weighted(ClassEnergy(first.classifier, {experiment.material.pair: 1.0}), size.weight)
    other = Weighted(ClassEnergy(second.classifier, {second.wanted: 1.0}), size.weight)
    generator = experiment.material.generator
    fitted = fit_control(generator, [pair, other], fit=size.fit, rng=experiment.rng("joint"))
    images = Control(generator, fitted.network).images_of(experiment.noise("joint"))
    with torch.no_grad():
        guides = [
            torch.cat([class_probabilities(one.classifier, part).cpu() for part in images.split(128)]).argmax(1)
            == one.classifier.class_names.index(name)
            for one, name in ((first, experiment.material.pair), (second, second.wanted))
        ]
    judged = [first.hits(images, experiment.material.pair), second.hits(images)]
    return {
        f"{who}.{what}": float(hits.double().mean())
        for who, (one, two) in (("guide", guides), ("judge", judged))
        for what, hits in (("first", one), ("second", two), ("both", one & two))
    }


MEASUREMENTS: Measurements = {"gaps": measure_gaps}
