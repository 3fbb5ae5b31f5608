"""Plant poison in scenes, train small networks on them, and see what the scan of the training set finds.

    python scripts/measure_training_set_scan.py NETWORKS

NETWORKS is a folder outside of the repository: weights are kept there, and what is there is not trained again. Writes
docs/measured/training-set-scan.json; ``python scripts/write_tables.py training_set`` puts it into docs/poison.md.
Takes about 10 minutes on one core. The thresholds of the scan were chosen on four networks of seed 0.

Beside the scan stand the detectors of the Adversarial Robustness Toolbox (``pip install
adversarial-robustness-toolbox``), with their defaults, on the same features: activation clustering (Chen et al. 2018),
which names the smaller cluster of each class or, by silhouettes, some of them; and spectral signatures (Tran et al.
2018).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from measure_planted_defects import LAYERS, TEST, WORLD, accuracy, guesses, network
from numpy.typing import NDArray
from optotypes_networks import new_network
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.core.randomness import Randomness
from snellen.data.worlds.planting.trigger_planting import PlantTrigger
from snellen.data.worlds.planting.triggers import BlendTrigger, PatchTrigger, Trigger, WarpTrigger
from snellen.methods.scans.training_set import TrainingSet
from snellen.metrics.inspection.poisoned_classes import OUTLIER, poisoned_classes, reported

RESULT = Path(__file__).parents[1] / "docs" / "measured" / "training-set-scan.json"

TRIGGERS: dict[str, Trigger] = {"patch": PatchTrigger(), "blend": BlendTrigger(), "warp": WarpTrigger()}
RATES, POISONED_SEED, CLEAN_SEEDS = (0.01, 0.05, 0.1), 1, (1, 2)
TARGET = 0


@dataclass(frozen=True)
class Case:
    """One training set: a trigger and its rate, or none; and the seed of scenes and network."""

    trigger: str | None
    rate: float
    seed: int

    @property
    def name(self) -> str:
        """For a file."""
        return f"{self.trigger or 'clean'}-{self.rate:g}-{self.seed}"

    @property
    def defect(self) -> PlantTrigger:
        """What is planted."""
        assert self.trigger is not None
        return PlantTrigger(trigger=TRIGGERS[self.trigger], target_class=TARGET, rate=self.rate)

    def images(self) -> tuple[ImageSet, ImageSet, ImageSet]:
        """The training set as it is scanned, as it was, and test images."""
        world = WORLD.model_copy(update={"seed": 100 + self.seed})
        before = world.images(split="train")
        test = world.model_copy(update={"count": TEST}).images(split="test")
        after = before if self.trigger is None else self.defect.plant(before, rng=Randomness(self.seed))
        return after, before, test


CASES = [
    *(Case(trigger, rate, POISONED_SEED) for trigger in TRIGGERS for rate in RATES),
    *(Case(None, 0.0, seed) for seed in CLEAN_SEEDS),
]


class Seen(nn.Module):
    """What the last layer of a network takes, as a module of its own."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Images (n, 3, h, h) → (n, d)."""
        found: Tensor = self.model.features(images)
        return found


def kept_network(case: Case, images: ImageSet, folder: Path) -> nn.Module:
    """The network of a case, trained if its weights are not there."""
    path = folder / f"{case.name}.safetensors"
    if not path.is_file():
        save_file(network(images, case.seed).state_dict(), path)
    assert images.class_names is not None
    model = new_network(len(images.class_names), case.seed, LAYERS)
    model.load_state_dict(load_file(path))
    return model.eval()


def measured(case: Case, folder: Path) -> dict[str, object]:
    """One row: what the network learned, and what the scan reports of the set that it was trained on."""
    images, before, test = case.images()
    model = kept_network(case, images, folder)
    row: dict[str, object] = {**vars(case), "accuracy": accuracy(model, test)}
    planted = images.labels != before.labels
    if case.trigger is not None:
        others = test.select(np.flatnonzero(test.labels != TARGET))
        stamped = case.defect.stamped(others, rng=Randomness(case.seed))
        row["attack_success"] = (guesses(model, stamped) == TARGET).double().mean().item()
        agreed = guesses(model, images).numpy() == images.labels
        row["planted_learned"] = float(agreed[planted].mean())
    assert images.class_names is not None
    classifier = Classifier(
        nn.Sequential(Seen(model), model.head),
        class_names=images.class_names,
        preparation=Preprocessing(),
        feature_layer="0",
        name=case.name,
    )
    row["art"] = by_art(Seen(model), images, planted)
    for raw in (False, True):
        scan, clock = TrainingSet(whiten=not raw, pictures=0), time.process_time()
        found = scan.inspect(images, classifier, rng=Randomness(case.seed))
        seconds = time.process_time() - clock
        reported = scan.reported(found.classes)
        named = np.isin(images.ids, [found.ids[at] for one in reported for at in found.classes[one].ranked()])
        suspects = found.classes[TARGET].ranked()
        of_target = np.isin(images.ids, [found.ids[at] for at in suspects])
        row["raw" if raw else "whitened"] = {
            "reported": list(reported),
            "seconds": round(seconds, 2),
            "named": int(named.sum()),
            "named_planted": int((named & planted).sum()),
            "suspects_of_target": int(of_target.sum()),
            "suspects_of_target_planted": int((of_target & planted).sum()),
            "silhouettes": {str(one): round(seen.silhouette, 4) for one, seen in found.classes.items()},
            "p_values": {str(one): float(f"{seen.p_value:.3g}") for one, seen in found.classes.items()},
            "z": {str(one): None if seen.z is None else round(seen.z, 2) for one, seen in found.classes.items()},
        }
    return {**row, "planted": int(planted.sum())}


def by_art(seen: Seen, images: ImageSet, planted: NDArray[np.bool_]) -> dict[str, dict[str, object]]:
    """What each detector of the toolbox names: images, classes with any of them, and processor seconds."""
    from art.defences.detector.poison import ActivationDefence, SpectralSignatureDefense
    from art.estimators.classification import PyTorchClassifier

    pixels = np.stack([Preprocessing()(images.read(row)).numpy() for row in range(len(images))])
    labels, count = images.labels, len(images.class_names or ())
    found: dict[str, dict[str, object]] = {}
    for name, detector, options in (
        ("activation clustering", ActivationDefence, {}),
        ("activation clustering, by silhouettes", ActivationDefence, {"cluster_analysis": "silhouette-scores"}),
        ("spectral signatures", SpectralSignatureDefense, {}),
    ):
        np.random.seed(0)  # its clustering draws from numpy's own state
        clock = time.process_time()
        # The toolbox takes the last layer of a sequence: here that which the scan takes.
        network = PyTorchClassifier(nn.Sequential(seen), nn.CrossEntropyLoss(), pixels.shape[1:], count)
        _, clean = detector(network, pixels, labels).detect_poison(**options)
        named = ~np.array(clean, dtype=bool)
        found[name] = {
            "seconds": round(time.process_time() - clock, 2),
            "named": int(named.sum()),
            "named_planted": int((named & planted).sum()),
            "classes": sorted({int(one) for one in labels[named]}),
        }
    return found


#: Features (n, d) of simulated images without poison, by what they are like.
SIMULATED: dict[str, Callable[[np.random.Generator, tuple[int, int]], NDArray[np.float64]]] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "heavy-tailed (Student's t, 3 degrees of freedom)": lambda rng, shape: rng.standard_t(3, size=shape),
    "skewed (gamma, shape 0.5)": lambda rng, shape: rng.gamma(0.5, size=shape),
    "rectified": lambda rng, shape: np.maximum(rng.normal(size=shape) @ rng.normal(size=(shape[1], shape[1])), 0),
    "two kinds in every class": lambda rng, shape: two_kinds(rng, shape, shape[0] // 2),
    "two kinds in one class": lambda rng, shape: two_kinds(rng, shape, 0),
}
SETS, CLASSES, EACH, WIDTH = 60, 10, 150, 16


def two_kinds(rng: np.random.Generator, shape: tuple[int, int], elsewhere: int) -> NDArray[np.float64]:
    """Normal features; ``elsewhere`` images of all, or else 40 of the first class, lie 8 deviations away."""
    values = rng.normal(size=shape)
    values[rng.permutation(shape[0])[:elsewhere] if elsewhere else np.arange(40), 3] += 8
    return values


def simulated() -> list[dict[str, object]]:
    """How many of the simulated sets are reported, by kind of features."""
    labels = np.repeat(np.arange(CLASSES), EACH)
    rows: list[dict[str, object]] = []
    for name, draw in SIMULATED.items():
        count = 0
        for seed in range(SETS):
            rng = np.random.default_rng(seed)
            values = draw(rng, (len(labels), WIDTH)) + 10 * np.eye(CLASSES, WIDTH)[labels]
            found = poisoned_classes(values, labels, rng=rng)
            count += bool(reported(found, alpha=0.05, outlier=OUTLIER))
        rows.append({"features": name, "sets": SETS, "reported": count})
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Measure all cases and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", type=Path)
    folder = parser.parse_args().networks
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    rows = []
    for case in CASES:
        rows.append(measured(case, folder))
        print({name: value for name, value in rows[-1].items() if not isinstance(value, dict)}, flush=True)
    RESULT.write_text(json.dumps({"rows": rows, "simulated": simulated()}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
