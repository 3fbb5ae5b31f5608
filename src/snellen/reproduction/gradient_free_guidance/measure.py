"""Why the Fréchet distance rises beside autoguidance (38.k): docs/measured/guidance-beside.

    python scripts/measure.py gradient_free_guidance --set seed=1000

Autoguidance alone goes away from a weak network with a scale that is best for it. Where the classifier is confused, the
method goes away from the competitor with a larger one, up to 4. Blurs of the first steps confuse the classifier. Each
seed of the record is sampled again with the same weak network, requests and noise. ``turned`` keeps autoguidance's
scale and turns only the reference to the competitor. ``milder`` has gamma 1 for 3. ``later`` lets the classifier decide
at a noise of sigma 1 and below. ``later, turned`` does both. A seed takes five minutes of a core and is a file; one
that is there is left alone.

What was expected: if the larger scale is the cause, ``turned`` is no worse than autoguidance alone. If the confusion by
blurs is the cause, ``later`` is. ``turned`` came out on three seeds of three, and ``later`` within 0.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.reproduction.gradient_free_guidance.experiment import (
    SMALL,
    _auto,
    _guided,
    _means,
    _plain,
    chosen_weak_scale,
)
from snellen.reproduction.sample import Figure
from snellen.reproduction.shared.documents import Measurements, is_measured, measured_path, write_measured
from snellen.reproduction.shared.guided_generation.setups import thumbnails
from snellen.reproduction.shared.guided_generation.weak_denoiser import PLAN, weak_denoiser
from snellen.systems.gradient_free_guidance.method import GradientFreeGuidance

#: Sigma of EDM from which on an estimate of a thumbnail is more than a blur.
SHARP = 1.0

#: What is changed of the recorded arm.
CHANGES: dict[str, dict[str, Any]] = {
    "recorded": {},
    "turned": {"gamma": 0.0},
    "milder": {"gamma": 1.0},
    "later": {"sigmas": (0.0, SHARP)},
    "later, turned": {"sigmas": (0.0, SHARP), "gamma": 0.0},
}


def measure_beside(root: Path, progress: Progress, *, seed: int = 1000) -> None:
    """Fréchet distance, accuracy and recall of each way beside autoguidance, and of autoguidance alone."""
    path = measured_path(root, f"guidance-beside/{seed}")
    if is_measured(path):
        return
    setup = replace(thumbnails(), steps=SMALL.steps)
    plan = PLAN.model_copy(update={"epochs": SMALL.weak_epochs})
    weak = weak_denoiser(setup, Randomness(seed), count=SMALL.weak_images, plan=plan, progress=progress)
    scale = chosen_weak_scale(setup, weak, SMALL.thumbnails, seed, progress)
    requested = setup.ask(SMALL.thumbnails, seed)
    ways = {"alone": _figures(_plain(_auto(scale, weak), setup, requested, progress))}
    for name, changes in CHANGES.items():
        method = GradientFreeGuidance(weak_scale=scale, **changes)
        ways[name] = _figures(_guided(name, method, setup, requested, progress, weak))
    write_measured(path, {"seed": seed, "scale": scale, "ways": ways})


def _figures(found: Mapping[str, Figure]) -> dict[str, float]:
    means = _means(found)
    return {name: means[name] for name in ("frechet", "accuracy", "recall")}


MEASUREMENTS: Measurements = {"beside": measure_beside}
