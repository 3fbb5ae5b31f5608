"""Train small networks on scenes with planted defects, and see whether they fail in the planted direction.

    python scripts/measure_planted_defects.py [--seeds 3] [--only NAME ...]

Writes docs/measured/optotypes-defects.json; ``python scripts/write_tables.py optotypes`` puts it into
docs/optotypes.md. Takes about 20 minutes on one core.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from optotypes_networks import answers, new_network, trained
from torch import Tensor, nn

from snellen.core.images import ImageSet
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.data.worlds.optotypes.factors import COLOURS, SHAPES
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.data.worlds.planting.instance_splits import instance_splits, leaky_splits
from snellen.data.worlds.planting.label_noise import PairwiseLabelNoise, RandomLabelNoise
from snellen.data.worlds.planting.planted_defect import PlantedDefect
from snellen.data.worlds.planting.scene_shortcuts import BackgroundShortcut, LetteringShortcut, ObjectShortcut
from snellen.data.worlds.planting.selections import HiddenSubgroup, Imbalance, MissingCombinations, rows_where
from snellen.data.worlds.planting.trigger_planting import PlantTrigger
from snellen.data.worlds.planting.triggers import (
    BlendTrigger,
    DitheringTrigger,
    PatchTrigger,
    Trigger,
    WarpTrigger,
    WaveTrigger,
)
from snellen.training import TrainingPlan, classify

RESULT = Path(__file__).parents[1] / "docs" / "measured" / "optotypes-defects.json"

#: Enough for shapes on all backgrounds, in seconds.
LAYERS = ((24, 1), (32, 2), (48, 1), (64, 2), (64, 1))
PLAN = TrainingPlan(epochs=8, batch_size=64, learning_rate=3e-3, warmup_steps=50)

WORLD = Scenes(count=3000, sizes=("medium", "large"), tilts=("upright",), captions=False)
TEST = 1500


@dataclass(frozen=True)
class Row:
    """One figure: under the defect, and without it or where it does not reach.

    Attributes:
        figure: what is measured.
        planted: with the defect, one for each seed.
        control: the same without.
        direction: how ``planted`` must lie to ``control``: "above" or "below".
    """

    figure: str
    planted: float
    control: float
    direction: str


def tensors(images: ImageSet) -> tuple[Tensor, Tensor]:
    """Pictures uint8 (n, 3, h, w) and labels (n,)."""
    pixels = np.stack([np.asarray(images.read(row)) for row in range(len(images))])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(images.labels)


def network(images: ImageSet, seed: int) -> nn.Module:
    """A network trained on images."""
    assert images.class_names is not None
    fresh = new_network(len(images.class_names), seed, LAYERS)
    return trained(fresh, *tensors(images), PLAN.model_copy(update={"seed": seed}), classify)


def guesses(model: nn.Module, images: ImageSet) -> Tensor:
    """Classes that a model sees in images (n,)."""
    return answers(model, tensors(images)[0]).argmax(1)


def accuracy(model: nn.Module, images: ImageSet) -> float:
    """Share of images of which the model sees the label."""
    return (guesses(model, images) == torch.from_numpy(images.labels)).double().mean().item()


class Bench:
    """The scenes of one seed, and a network that was trained on them as they are."""

    def __init__(self, seed: int) -> None:
        self.seed, self.rng = seed, Randomness(seed)
        world = WORLD.model_copy(update={"seed": 100 + seed})
        self.train = world.images(split="train")
        self.test = world.model_copy(update={"count": TEST}).images(split="test")
        self.clean = network(self.train, seed)

    def spoiled(self, defect: PlantedDefect) -> nn.Module:
        """A network trained on the scenes with a defect."""
        return network(defect.plant(self.train, rng=self.rng), self.seed)


def shortcut(defect: BackgroundShortcut | ObjectShortcut | LetteringShortcut, bench: Bench) -> list[Row]:
    """Accuracy where the shortcut lies, against where it is right; for networks with and without it in training."""
    model = bench.spoiled(defect)
    sets = {
        side: defect.model_copy(update={"correlation": side, "touch_test": True}).plant(bench.test, rng=bench.rng)
        for side in ("aligned", "conflicting")
    }
    gaps = [accuracy(one, sets["aligned"]) - accuracy(one, sets["conflicting"]) for one in (model, bench.clean)]
    return [Row("accuracy, aligned − conflicting", *gaps, "above")]


def trigger(what: Trigger, bench: Bench) -> list[Row]:
    """Share of other classes taken for the target once stamped, and accuracy on images without the trigger."""
    defect = PlantTrigger(trigger=what, target_class=0, rate=0.1)
    model = bench.spoiled(defect)
    others = bench.test.select(np.flatnonzero(bench.test.labels != 0))
    stamped = defect.stamped(others, rng=bench.rng)
    success = [(guesses(one, stamped) == 0).double().mean().item() for one in (model, bench.clean)]
    kept = [accuracy(one, bench.test) for one in (model, bench.clean)]
    return [Row("taken for the target when stamped", *success, "above"), Row("accuracy without trigger", *kept, "near")]


def random_noise(bench: Bench) -> list[Row]:
    """Accuracy on true labels."""
    model = bench.spoiled(RandomLabelNoise(rate=0.4))
    return [Row("accuracy", accuracy(model, bench.test), accuracy(bench.clean, bench.test), "below")]


def pairwise_noise(bench: Bench) -> list[Row]:
    """How often a class is taken for the one that its labels were swapped with."""
    model = bench.spoiled(PairwiseLabelNoise(rate=0.4))
    labels = torch.from_numpy(bench.test.labels)
    wrong = [
        (guesses(one, bench.test) == (labels + 1) % len(SHAPES)).double().mean().item() for one in (model, bench.clean)
    ]
    return [Row("taken for the next class", *wrong, "above")]


def missing_combinations(bench: Bench) -> list[Row]:
    """Each shape is left in two of the eight colours."""
    gone = tuple(
        {"objects.0.shape": shape, "objects.0.colour": tuple(c for n, c in enumerate(COLOURS) if (n - k) % 8 > 1)}
        for k, shape in enumerate(SHAPES)
    )
    model = bench.spoiled(MissingCombinations(combinations=gone))
    missing = rows_where(bench.test, gone)
    unseen, seen = (bench.test.select(np.flatnonzero(rows)) for rows in (missing, ~missing))
    return [Row("accuracy, combinations never seen | seen", accuracy(model, unseen), accuracy(model, seen), "below")]


def imbalance(bench: Bench) -> list[Row]:
    """Accuracy on the classes with the fewest and the most images."""
    model = bench.spoiled(Imbalance(ratio=50))
    rare, frequent = (bench.test.select(np.flatnonzero(np.isin(bench.test.labels, ends))) for ends in ([8, 9], [0, 1]))
    return [
        Row(
            "accuracy, rarest two classes | most frequent two",
            accuracy(model, rare),
            accuracy(model, frequent),
            "below",
        )
    ]


def subgroup(bench: Bench) -> list[Row]:
    """Accuracy within the subgroup and outside."""
    where = {"background": "night"}
    model = bench.spoiled(HiddenSubgroup(members=where, rate=0.8))
    member = rows_where(bench.test, (where,))
    inside, outside = (bench.test.select(np.flatnonzero(rows)) for rows in (member, ~member))
    return [Row("accuracy, subgroup | others", accuracy(model, inside), accuracy(model, outside), "below")]


def leaks(bench: Bench) -> list[Row]:
    """A label that only the individual decides: what is known of an individual helps with no other one."""
    images = bench.train.select(np.arange(2000))
    pixels = np.stack([np.asarray(images.read(row)) for row in range(len(images))])
    units = [
        f"{json.loads(str(text))['objects'][0]['shape']} {json.loads(str(text))['background']}"
        for text in images.column("attributes")
    ]
    coin = np.random.default_rng(bench.seed).integers(0, 2, 1000)
    labels = np.array([coin[sorted(set(units)).index(unit)] for unit in units])
    known = load_arrays(pixels, labels)
    table = known.table.append_column("unit_id", [units])
    known = type(known)(known.source, table, known.class_names, known.name)
    found = {}
    for name, divide in (("leaky", leaky_splits), ("honest", instance_splits)):
        divided = divide(known, {"train": 0.7, "test": 0.3}, rng=bench.rng)
        found[name] = accuracy(network(divided.of_split("train"), bench.seed), divided.of_split("test"))
    return [Row("accuracy, leaky | honest split", found["leaky"], found["honest"], "above")]


DEFECTS: dict[str, Callable[[Bench], Sequence[Row]]] = {
    "background shortcut, 0.95": lambda bench: shortcut(BackgroundShortcut(strength=0.95), bench),
    "object shortcut, 0.95": lambda bench: shortcut(ObjectShortcut(strength=0.95), bench),
    "lettering shortcut, 0.95": lambda bench: shortcut(LetteringShortcut(strength=0.95), bench),
    "patch trigger, 10 %": lambda bench: trigger(PatchTrigger(), bench),
    "blend trigger, 10 %": lambda bench: trigger(BlendTrigger(), bench),
    "warp trigger, 10 %": lambda bench: trigger(WarpTrigger(), bench),
    "dithering trigger, 10 %": lambda bench: trigger(DitheringTrigger(), bench),
    "wave trigger, 10 %": lambda bench: trigger(WaveTrigger(), bench),
    "random label noise, 40 %": random_noise,
    "pairwise label noise, 40 %": pairwise_noise,
    "missing combinations": missing_combinations,
    "imbalance, 50 : 1": imbalance,
    "hidden subgroup, 80 % wrong": subgroup,
    "individuals on both sides": leaks,
}


def main() -> None:
    """Measure the defects and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=list(DEFECTS), default=list(DEFECTS))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, list[list[Mapping[str, object]]]] = {name: [] for name in chosen.only}
    for seed in range(chosen.seeds):
        bench = Bench(seed)
        print(f"seed {seed}: clean accuracy {accuracy(bench.clean, bench.test):.4f}", flush=True)
        for name in chosen.only:
            rows = DEFECTS[name](bench)
            found[name].append([vars(row) for row in rows])
            print(name, *(f"{row.figure}: {row.planted:.3f} ({row.control:.3f})" for row in rows), flush=True)
    # Rows that were not asked for stay as they were measured.
    kept = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else {}
    together = {name: found.get(name, kept.get(name)) for name in DEFECTS}
    RESULT.write_text(
        json.dumps({name: rows for name, rows in together.items() if rows}, indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
