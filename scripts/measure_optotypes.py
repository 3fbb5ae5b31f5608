"""Measure what docs/optotypes.md says of the procedural world, and write its tables.

    python scripts/measure_optotypes.py factors|nuisances|speed [--threads 1]

Each part writes its figures to docs/measured/optotypes-PART.json; write_tables.py writes them into the page.
``factors`` takes about 10 minutes on one core, ``nuisances`` 5.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from optotypes_networks import LAYERS, SMALL_LAYERS, Heads, answers, new_network, pictures, trained
from torch import Tensor, nn

from snellen.data.worlds.optotypes.factors import NUISANCES, ROUND, STYLES, Nuisance
from snellen.data.worlds.optotypes.nuisances import ON_IMAGES, STRONGEST
from snellen.data.worlds.optotypes.rendering import render, visible
from snellen.data.worlds.optotypes.scene import Nuisances, Scene
from snellen.data.worlds.optotypes.scene_set import LABELS
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.data.worlds.solids.solid_set import Solids
from snellen.data.worlds.viewpoints import viewpoints_of
from snellen.training import TrainingPlan
from snellen.training.batches import Batch

RESULTS = Path(__file__).parents[1] / "docs" / "measured"
Figures = Mapping[str, object]

#: Twice as fast on a CPU as full precision.
FAST: Mapping[str, Any] = {
    "batch_size": 64,
    "learning_rate": 2e-3,
    "mixed_precision": "bf16",
    "channels_last": True,
}


def _factors() -> Figures:
    """Whether a small network can tell every factor of clean scenes: all styles, lights and individuals."""
    world = Scenes(count=48_000, lightings=("dim", "bright"), styles=STYLES, individuals=1000, captions=False)
    heads = Heads({name: len(values) for name, (values, _) in LABELS.items()})
    training, test = world.scenes("train"), world.model_copy(update={"count": 4000}).scenes("test")
    network = trained(
        new_network(heads.width, seed=0),
        pictures(training),
        factor_targets(training),
        TrainingPlan(epochs=5, warmup_steps=200, **FAST),
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


def _nuisances() -> Figures:
    """Whether networks that were shown other scenes see a nuisance grow with its strength.

    Unsteady strokes change outlines and no pixel statistics; a network of its own reads them, at 48 pixels.
    """
    found: dict[str, object] = {}
    for names, layers, size in ((ON_IMAGES, SMALL_LAYERS, 32), (("stroke",), LAYERS, 48)):
        world = Scenes(
            count=24_000 if len(names) > 1 else 12_000,
            nuisances=names,
            nuisance_share=0.9,
            strengths=(0.0, 5.0),
            individuals=1000,
            seed=1,
            captions=False,
        )
        training = world.scenes("train")
        strengths = torch.tensor([[scene.nuisances.strength(name) for name in names] for scene in training])
        plan = TrainingPlan(epochs=6, warmup_steps=100, **FAST)
        fresh = new_network(len(names), seed=0, layers=layers)
        network = trained(fresh, pictures(training, size), strengths / STRONGEST, plan, squared_error)
        clean = world.model_copy(update={"count": 200, "nuisance_share": 0.0}).scenes("test")
        steps = torch.linspace(0, STRONGEST, 11).tolist()
        for number, name in enumerate(names):
            found[name] = _strength_series(network, clean, name, number, steps, size)
    return found


def _strength_series(
    network: nn.Module, clean: list[Scene], name: Nuisance, number: int, steps: list[float], size: int
) -> Mapping[str, object]:
    """What the network reads at each strength, and how it goes with the strength within each scene."""
    drawn = [pictures([worse(scene, name, strength) for scene in clean], size) for strength in steps]
    read = torch.stack([answers(network, images)[:, number] for images in drawn]) * STRONGEST
    ranks = read.argsort(0).argsort(0).double()
    order = torch.arange(len(steps), dtype=torch.float64)[:, None]
    spearman = 1 - 6 * ((ranks - order) ** 2).sum(0) / (len(steps) * (len(steps) ** 2 - 1))
    return {
        "identity at 0": torch.equal(drawn[0], pictures(clean, size)),
        "strengths": steps,
        "read": read.mean(1).tolist(),
        "mean rises": bool((read.mean(1).diff() > 0).all()),
        "steps that rise": (read.diff(dim=0) > 0).double().mean().item(),
        "rank correlation, median": spearman.median().item(),
        "rank correlation, 5th percentile": spearman.quantile(0.05).item(),
        "error at strength 0 to 5": (read - torch.tensor(steps)[:, None]).abs().mean().item(),
    }


def _speed() -> Figures:
    """Images a second on two threads that draw batches of their own: styles, lights, text, up to three objects."""
    torch.set_num_threads(1)
    world = Scenes(
        count=2048,
        objects=(1, 3),
        styles=STYLES,
        lightings=("dim", "bright"),
        lettering_share=0.5,
        individuals=50,
        nuisance_share=1.0,
        captions=False,
    )
    scenes = world.scenes("test")
    everything = Nuisances(**dict.fromkeys(NUISANCES, 2.5))
    worst = [scene.model_copy(update={"nuisances": everything}) for scene in scenes]
    solids = Solids().renderer()
    views = viewpoints_of(torch.randn(32, 6, generator=torch.Generator().manual_seed(0)))
    return {
        "threads": THREADS,
        "rates": {
            "scenes, 32 px, every factor on, one nuisance in each": rate(lambda part: render(part, 32), parts(scenes)),
            "scenes, 32 px, all six nuisances in each": rate(lambda part: render(part, 32), parts(worst)),
            "masks of scenes, 32 px": rate(lambda part: visible(part, 32), parts(scenes)),
            "solids, 48 px": rate(
                lambda names: [solids.render(one, views) for one in names],
                [[one] for one in solids.objects[::6]],
                len(views),
            ),
        },
    }


#: Threads that draw, and scenes in a batch.
THREADS, BATCH = 2, 256


def parts(scenes: list[Scene]) -> list[list[Scene]]:
    """Scenes in batches."""
    return [scenes[start : start + BATCH] for start in range(0, len(scenes), BATCH)]


def rate(work: Callable[[Any], object], batches: Sequence[Sequence[object]], each: int = 1, repeats: int = 5) -> float:
    """Images a second, ``each`` for every member of a batch; the best of several repeats."""
    images, best = sum(map(len, batches)) * each, math.inf
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in range(repeats + 1):
            started = time.perf_counter()
            list(pool.map(work, batches))
            best = min(best, time.perf_counter() - started)
    return images / best


def worse(scene: Scene, name: Nuisance, strength: float) -> Scene:
    """The same scene under one nuisance."""
    return scene.model_copy(update={"nuisances": Nuisances(**{name: strength})})


def squared_error(model: nn.Module, batch: Batch) -> Tensor:
    """Mean squared error over the outputs of each example."""
    return (model(batch.images) - batch.targets).square().mean(1)


def factor_targets(scenes: list[Scene]) -> Tensor:
    """Number of each factor's value, int64 (n, factors); −1 for the tilt of a round shape."""
    rows = []
    for scene in scenes:
        row = [values.index(value(scene)) for values, value in LABELS.values()]
        if scene.objects[0].shape in ROUND:
            row[list(LABELS).index("tilt")] = -1
        rows.append(row)
    return torch.tensor(rows)


PARTS: dict[str, Callable[[], Figures]] = {"factors": _factors, "nuisances": _nuisances, "speed": _speed}


def main() -> None:
    """Measure one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=[*PARTS])
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    figures = PARTS[chosen.part]()
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"optotypes-{chosen.part}.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
