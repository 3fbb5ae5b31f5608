"""What the training scripts of the embedded models have in common: options, a console, and the record of a training.

``--first-steps`` trains the first 50 steps only and compares the mean loss of each ten with the record that lies beside
the weights: whether the script still does what made them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snellen import __version__
from snellen.core.artifact import Lineage
from snellen.models.weights.bundled_folders import FolderKind, write_card
from snellen.training import TrainingPlan, record_environment, train
from snellen.training.batches import Batch, Examples
from snellen.training.loop import Trained
from snellen.training.objectives import Objective
from snellen.training.transforms import BatchTransform

sys.path.insert(0, str(Path(__file__).parents[1]))
from console import Console

ASSETS = Path(__file__).parents[2] / "distributions" / "snellen-models" / "src" / "snellen_models"
BUILD = Path("build") / "embedded"

#: Steps whose losses are recorded, and steps of one recorded mean.
FIRST_STEPS, EVERY = 50, 10

#: Largest relative difference of such a mean, on another processor.
TOLERANCE = 0.05


class _EnoughError(Exception):
    """The first steps are done."""


@dataclass
class FirstLosses:
    """Notes the mean loss of each of the first steps.

    Args:
        objective: what is minimised.
        stop: whether the training ends after these steps.
        kept: file that keeps them, for a training that goes on from a checkpoint.
    """

    objective: Objective
    stop: bool = False
    kept: Path | None = None
    losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.kept is not None and self.kept.exists():
            self.losses = json.loads(self.kept.read_text(encoding="utf-8"))

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Losses (n,) of a batch."""
        if self.stop and len(self.losses) >= FIRST_STEPS:
            raise _EnoughError
        losses = self.objective(model, batch)
        if len(self.losses) < FIRST_STEPS:
            self.losses.append(float(losses.detach().mean()))
            if self.kept is not None and len(self.losses) == FIRST_STEPS:
                self.kept.write_text(json.dumps(self.losses), encoding="utf-8")
        return losses

    def means(self) -> list[float]:
        """Mean loss of each ten steps, rounded to four significant digits."""
        return [
            float(f"{sum(part) / len(part):.4g}")
            for part in (self.losses[start : start + EVERY] for start in range(0, len(self.losses), EVERY))
        ]


def options(description: str) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    parser.add_argument("--threads", type=int, default=1, help="intra-op threads; part of the record")
    parser.add_argument(
        "--first-steps", action="store_true", help=f"train {FIRST_STEPS} steps only, and compare them with the record"
    )
    parser.add_argument("--assets", type=Path, default=ASSETS, help="folder of the embedded models")
    found = parser.parse_args()
    torch.set_num_threads(found.threads)
    return found


def fit(
    given: argparse.Namespace,
    name: str,
    part: str,
    model: nn.Module,
    examples: Examples,
    *,
    plan: TrainingPlan,
    objective: Objective,
    recipe: Mapping[str, Any],
    transform: BatchTransform | None = None,
) -> tuple[Trained, dict[str, Any]]:
    """Train, or do the first steps only and compare them.

    Args:
        given: the command line.
        name: folder of the model in the assets.
        part: which of its parts is trained; the record of the training is ``training.json``, by part.
        model: initial weights.
        examples: the train split.
        plan: all numbers.
        objective: what is minimised.
        recipe: what else defines the training, as JSON values.
        transform: augmentation of each batch.

    Returns:
        What was trained, and its record.
    """
    if given.first_steps:
        noting = FirstLosses(objective, stop=True)
        try:
            train(model, examples, plan=plan, objective=noting, transform=transform, recipe=recipe)
        except _EnoughError:
            _compare(given.assets / name, part, noting.means())
        raise SystemExit(0)
    checkpoint = BUILD / f"{name}-{part}.safetensors"
    if checkpoint.exists() and not given.resume:
        raise SystemExit(f"{checkpoint} exists: go on with --resume, or delete it")
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    resumed, kept = checkpoint.exists(), checkpoint.with_suffix(".first.json")
    if not resumed:
        kept.unlink(missing_ok=True)
    noting = FirstLosses(objective, kept=kept)
    started, before = time.monotonic(), os.times()
    trained = train(
        model,
        examples,
        plan=plan,
        objective=noting,
        transform=transform,
        recipe=recipe,
        checkpoint=checkpoint,
        progress=Console(),
    )
    after = os.times()
    record = {
        "recipe": dict(recipe),
        "plan": plan.model_dump(mode="json"),
        "data": trained.data,
        "examples": len(examples.ids),
        "steps": trained.steps,
        "losses": [round(row["train.loss"], 5) for row in trained.history],
        "first losses": noting.means(),
        "seconds": {
            "wall": round(time.monotonic() - started),
            "processor": round(after.user + after.system - before.user - before.system),
            # Then the times are those of the last part.
            "resumed": resumed,
        },
        "environment": record_environment(),
    }
    return trained, record


def write_record(folder: Path, part: str, record: Mapping[str, Any]) -> None:
    """Add the record of one part to ``training.json`` of a folder."""
    path = folder / "training.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps({**known, part: record}, indent=1) + "\n", encoding="utf-8")


def write_folder_card(folder: Path, *, kind: FolderKind, description: str) -> None:
    """Write the card of a folder in the format of its library: hashes, and the trainings that made it."""
    records = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    lineage = Lineage(
        recipe={part: {**record["recipe"], "plan": record["plan"]} for part, record in records.items()},
        data=", ".join(record["data"] for record in records.values()),
        seed=next(iter(records.values()))["plan"]["seed"],
        code_version=__version__,
        environment=next(iter(records.values()))["environment"],
    )
    write_card(folder, name=folder.name, kind=kind, description=description, lineage=lineage)


def _compare(folder: Path, part: str, found: list[float]) -> None:
    recorded = json.loads((folder / "training.json").read_text(encoding="utf-8"))[part]["first losses"]
    print(f"{folder.name}, {part}: first losses {found}, recorded {recorded}")
    for ours, theirs in zip(found, recorded, strict=True):
        if abs(ours - theirs) > TOLERANCE * abs(theirs):
            raise SystemExit(f"error: {folder.name}, {part}: a mean loss of {ours}, where {theirs} was recorded")
