"""Curves of four classifiers under four shifts of generated scenes, by ``snellen.shift_nuisance``, with intervals.

    python scripts/measure_nuisance_curves.py [--check]

Trains the classifiers of system 2's experiment with a seed that no record has, generates and filters trajectories as a
user would, and writes docs/measured/nuisance-curves.json and the table of docs/systems/continuous_nuisance.md. Takes
about five minutes on one core. ``--check`` measures and writes nothing, and fails when the table is stale.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from write_optotype_tables import table
from write_systems_table import with_block

import snellen
from snellen.core.progress import Silent
from snellen.reproduction.continuous_nuisance.classifiers import trained_classifiers
from snellen.reproduction.continuous_nuisance.scales import SHIFTS, SMALL, TEMPLATE
from snellen.systems.continuous_nuisance.method import ContinuousNuisance

PAGE = Path(__file__).parents[1] / "docs" / "systems" / "continuous-nuisance.md"
MEASURED = PAGE.parents[1] / "measured" / "nuisance-curves.json"

#: Of classifiers and things; and how many things of each of six classes.
SEED, THINGS = 50, 15


def measured() -> dict[str, Any]:
    """Kept trajectories, curves and orders by shift."""
    torch.set_num_threads(1)
    classifiers = trained_classifiers(SMALL, SEED, Silent())
    method = ContinuousNuisance(
        concept=tuple(f"{name}={one.words}" for name, one in SHIFTS.items()),
        template=TEMPLATE,
        fit=SMALL.fit.model_copy(update={"learning_rate": 8e-4}),
    )
    with tempfile.TemporaryDirectory() as folder:
        found = snellen.shift_nuisance(
            method, classifiers, out=Path(folder) / "out", seeds=THINGS, reference_model="plain", seed=SEED
        ).model_dump(mode="json")
    return {name: found[name] for name in ("kept", "thresholds", "figures", "mean_relative_error", "orders")} | {
        "seed": SEED,
        "things": THINGS * len(classifiers[0].class_names),
    }


def curves_table(found: Mapping[str, Any]) -> str:
    """A row for each shift and classifier: accuracy with its interval at each strength, failures, relative error."""
    rows = []
    for shift, kept in found["kept"].items():
        for model, figures in found["figures"].items():
            told = figures[shift]
            points = [f"{one['accuracy']:.2f} ({one['low']:.2f} to {one['high']:.2f})" for one in told["curve"]]
            error = told["relative_error"]
            failed = f"{told['failures']['failed']} of {told['failures']['n']}"
            rows.append([f"{shift}, {kept}", model, *points, failed, "" if error is None else f"{error:.2f}"])
    strengths = [f"{one['strength']:g}" for one in next(iter(next(iter(found["figures"].values())).values()))["curve"]]
    changes = [f"{shift}: {change}" for shift, one in found["orders"].items() for change in one["changes"]]
    said = "; ".join(changes) if changes else "none beyond chance"
    head = ["shift, trajectories kept", "classifier", *strengths, "failed", "relative error"]
    return f"{table(head, rows)}\n\nChanges of the order with strength: {said}."


def main() -> None:
    """Measure and write, or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    chosen = parser.parse_args()
    if not chosen.check:
        MEASURED.write_text(json.dumps(measured(), indent=1) + "\n", encoding="utf-8")
    found = json.loads(MEASURED.read_text(encoding="utf-8"))
    text = PAGE.read_text(encoding="utf-8")
    written = with_block(text, "curves", curves_table(found), PAGE.name)
    if chosen.check and written != text:
        raise SystemExit(f"{PAGE.name} is stale; run python scripts/measure_nuisance_curves.py")
    PAGE.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
