"""Measure what docs/optotypes.md says of the procedural world, and write its tables.

    python scripts/measure_optotypes.py factors|nuisances|defects|speed|tables [--threads 1]

Each part writes its figures to results/optotypes/PART.json; ``tables`` writes them into the page. ``factors`` takes
about 15 minutes on one core, ``nuisances`` 5, ``defects`` 20.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from optotypes_networks import Heads, answers, new_network, pictures, trained
from torch import Tensor

from snellen.data.optotypes.factors import ROUND, STYLES
from snellen.data.optotypes.scene import Scene
from snellen.data.optotypes.scene_set import LABELS
from snellen.data.optotypes.scenes import Scenes
from snellen.training import TrainingPlan

RESULTS = Path(__file__).parents[1] / "results" / "optotypes"
Figures = Mapping[str, object]


def _factors() -> Figures:
    """Whether a small network can tell every factor of clean scenes: all styles, lights and individuals."""
    world = Scenes(count=48_000, lightings=("dim", "bright"), styles=STYLES, individuals=1000, captions=False)
    heads = Heads({name: len(values) for name, (values, _) in LABELS.items()})
    training, test = world.scenes("train"), world.model_copy(update={"count": 4000}).scenes("test")
    network = trained(
        new_network(heads.width, seed=0),
        pictures(training),
        factor_targets(training),
        TrainingPlan(epochs=5, batch_size=64, learning_rate=2e-3, schedule="cosine", warmup_steps=200),
        heads.losses,
    )
    outputs, targets = answers(network, pictures(test)), factor_targets(test)
    return {
        "train": len(training),
        "test": len(test),
        "size": world.size,
        "accuracy": heads.accuracies(outputs, targets),
        "accuracy by style": {
            style: heads.accuracies(outputs[rows], targets[rows])
            for style in STYLES
            for rows in [torch.tensor([row for row, scene in enumerate(test) if scene.style == style])]
        },
    }


def factor_targets(scenes: list[Scene]) -> Tensor:
    """Number of each factor's value, int64 (n, factors); −1 for the tilt of a shape that looks the same when turned."""
    rows = []
    for scene in scenes:
        row = [values.index(value(scene)) for values, value in LABELS.values()]
        if scene.objects[0].shape in ROUND and scene.objects[0].texture == "plain":
            row[list(LABELS).index("tilt")] = -1
        rows.append(row)
    return torch.tensor(rows)


PARTS: dict[str, Callable[[], Figures]] = {"factors": _factors}


def main() -> None:
    """Measure one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=[*PARTS])
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    figures = PARTS[chosen.part]()
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{chosen.part}.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
