"""Measure what a refactoring must not change: every system's smoke figures, and the report of the default audit.

    python scripts/measure_baseline.py [--check] [--only smoke|report]

Writes ``tests/baseline/smoke.json`` and ``tests/baseline/report.json``. ``--check`` writes nothing and names every
figure that differs: smoke figures to the last digit, the report except for hashes of code, versions and times. The
figures belong to one processor with one thread: compare on the machine that wrote them, or write them anew before a
change. ``tests/baseline/README.md`` says when they were written anew, and why.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import torch

import snellen
from snellen.core.progress import Silent
from snellen.core.system import list_systems
from snellen.reproduction.sample import mean_of

FOLDER = Path(__file__).parents[1] / "tests" / "baseline"

Json: TypeAlias = "dict[str, Json] | list[Json] | str | float | bool | None"

#: What may differ between two versions of the code that decide the same.
UNSTABLE = (
    "code_hash",
    "code",
    "versions",
    "version",
    "written_by",
    "seconds",
    "duration_s",
    "created",
    "started",
    "finished",
)

#: Figures of smoke runs that are seconds, or ratios of them.
TIMED = ("step_cost",)


def smoke_figures() -> dict[str, dict[str, float | None]]:
    """Figures of the smoke run of each built system, seed 0, by the system's number."""
    found = {}
    for system in list_systems():
        if system.experiment is not None:
            module, _, name = system.experiment.partition(":")
            figures = getattr(importlib.import_module(module), name)("smoke", 0, Silent())
            found[str(system.number)] = {key: mean_of(value) for key, value in sorted(figures.items())}
            print(f"{system.number} {system.acronym}: {len(figures)} figures", file=sys.stderr, flush=True)
    return found


def default_report() -> Json:
    """The report of the default audit of the embedded classifier on the embedded images."""
    with tempfile.TemporaryDirectory() as folder:
        classifier = snellen.load_classifier("bundled:fashion-cnn")
        snellen.audit(classifier, snellen.load_images("bundled:fashion-mnist"), out=Path(folder) / "run")
        report: Json = json.loads((Path(folder) / "run" / "report.json").read_text(encoding="utf-8"))
        return report


def stable(value: Json) -> Json:
    """Without what may differ."""
    if isinstance(value, dict):
        return {key: stable(inner) for key, inner in value.items() if key not in UNSTABLE and not key.endswith(TIMED)}
    return [stable(inner) for inner in value] if isinstance(value, list) else value


def differences(before: Json, after: Json, place: str = "") -> Iterator[str]:
    """Each place at which two JSON values differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}):
            yield from differences(before.get(key, "absent"), after.get(key, "absent"), f"{place}/{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (first, second) in enumerate(zip(before, after, strict=True)):
            yield from differences(first, second, f"{place}/{number}")
    elif before != after:
        yield f"{place}: {before!r} became {after!r}"


def main() -> int:
    """Measure, then write or compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a figure differs")
    parser.add_argument("--only", choices=("smoke", "report"), help="measure one of the two")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    failed = False
    for name, measure in (("smoke", smoke_figures), ("report", default_report)):
        if arguments.only not in (None, name):
            continue
        measured = stable(measure())
        path = FOLDER / f"{name}.json"
        if arguments.check:
            found = list(differences(json.loads(path.read_text(encoding="utf-8")), measured, name))
            print(*found[:50], sep="\n")
            print(f"{name}: {len(found)} differences")
            failed = failed or bool(found)
        else:
            FOLDER.mkdir(exist_ok=True)
            path.write_text(json.dumps(measured, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
