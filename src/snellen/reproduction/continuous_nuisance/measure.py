"""Curves of four classifiers under four shifts of generated scenes: docs/measured/nuisance-curves.json.

The classifiers are those of the experiment, trained with a seed that no record has. ``snellen.shift_nuisance`` makes
and filters the trajectories, as for a user. Takes about five minutes on one core.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from snellen.core.progress import Progress
from snellen.reproduction.continuous_nuisance.classifiers import trained_classifiers
from snellen.reproduction.continuous_nuisance.scales import SHIFTS, SMALL, TEMPLATE
from snellen.reproduction.shared.documents import Measurements, measured_path
from snellen.systems.continuous_nuisance.method import ContinuousNuisance
from snellen.systems.continuous_nuisance.nuisance_images import shift_nuisance

#: Seed of the classifiers and of the objects, and how many objects of each of six classes are generated.
SEED, OBJECTS = 50, 15


def measure_curves(root: Path, progress: Progress) -> None:
    """Write kept trajectories, curves and orders, by shift."""
    classifiers = trained_classifiers(SMALL, SEED, progress)
    method = ContinuousNuisance(
        concept=tuple(f"{name}={one.words}" for name, one in SHIFTS.items()),
        template=TEMPLATE,
        fit=SMALL.fit.model_copy(update={"learning_rate": 8e-4}),
    )
    with tempfile.TemporaryDirectory() as folder:
        found = shift_nuisance(
            method,
            classifiers,
            out=Path(folder) / "out",
            seeds=OBJECTS,
            reference_model="plain",
            seed=SEED,
            progress=progress,
        ).model_dump(mode="json")
    measured = {name: found[name] for name in ("kept", "thresholds", "figures", "mean_relative_error", "orders")} | {
        "seed": SEED,
        "things": OBJECTS * len(classifiers[0].class_names),
    }
    measured_path(root, "nuisance-curves").write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")


MEASUREMENTS: Measurements = {"curves": measure_curves}
