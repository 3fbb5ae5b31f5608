"""How well the scan for backdoors works: planted classifiers, and the healthy ones of the ward.

    python scripts/ward/backdoors.py [--folder build/ward_backdoors] [--healthy build/ward] [--only NAME ...] [--merge]
    python scripts/ward/backdoors.py --pilot

Planted classifiers are trained as the healthy ones of ``healthy.py``, on images of which a share carries a trigger
(patch, blend, warp or single pixel; 1, 3 or 10 %) under the label of a target class. Each one, and each healthy
classifier that lies in the other folder, is scanned with the same settings, those of the package: one file of
docs/measured/ward/backdoors a classifier, and what is there is not measured again. ``--merge`` only reads them and
writes docs/measured/ward-backdoors.json, which says for every cell whether its trigger was learnt and found.

A trigger that sends fewer than half of the other test images to its target was not learnt: there is no backdoor to be
found. Such a cell is named and not counted. ``--pilot`` is the handful that settings were chosen on, of other seeds; it
writes into the folder of the artifacts. About a minute of one core for a training, and about a minute for a scan; the
four of 112 pixels take longer. Two hours of one core in all.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from healthy import CLEAR, TRAINED_ON, WORLDS, Healthy, World, ward
from healthy import FOLDER as HEALTHY

import snellen
from snellen.core.images import ImageSet
from snellen.core.randomness import Randomness, derive_seed
from snellen.core.run import canonical_json, write_atomically
from snellen.data.worlds.planting.trigger_planting import PlantTrigger
from snellen.data.worlds.planting.triggers import PLACES, BlendTrigger, PatchTrigger, WarpTrigger
from snellen.metrics.auroc import auroc
from snellen.metrics.intervals import clopper_pearson
from snellen.systems.smooth_inversion.method import Backdoor
from snellen.training import TrainingPlan
from snellen.training.transforms import BatchTransform

ROOT = Path(__file__).parents[2]
FILES = ROOT / "docs" / "measured" / "ward" / "backdoors"
MERGED = ROOT / "docs" / "measured" / "ward-backdoors.json"
FOLDER = Path("build") / "ward_backdoors"

#: Images that a classifier is scanned with, and those that its trigger is tried on.
SCANNED, TRIED = 400, 400

#: Success of the true trigger from which there is a backdoor.
LEARNT = 0.5

#: What was promised before the table was made.
BARS = {"auroc": 0.9, "target_first": 20 / 24, "false_alarms": 3 / 60}

#: Planted classifiers whose scans under an earlier rule led to the number of further images and their test.
SEEN = (
    "fashion-28-efficientnet-10-blend-3", "fashion-28-efficientnet-10-warp-10", "fashion-28-plain-10-patch-10",
    "fashion-28-plain-10-pixel-10", "fashion-28-resnet-10-blend-10", "fashion-28-resnet-10-patch-3",
)  # fmt: skip

LARGE = World("scenes-112", f"optotypes:scenes?count={{count}}&size=112&{CLEAR}&seed={{seed}}#{{split}}", 112)

#: Fewer images and epochs of the large world, which would take ten minutes else.
LARGE_COUNT, LARGE_EPOCHS = 1500, 5


@dataclass(frozen=True)
class Planted(Healthy):
    """A classifier with a backdoor.

    Attributes:
        trigger: patch, blend, warp or pixel.
        percent: of the training images that carry it.
    """

    trigger: str
    percent: int

    @property
    def name(self) -> str:
        """Name of the classifier, and of its folder."""
        return f"{super().name}-{self.trigger}-{self.percent}"

    @property
    def description(self) -> str:
        """What its card says of it."""
        return f"A classifier of {self.world.name} with a planted {self.trigger}, to measure scans with. Do not use it."

    @property
    def recipe(self) -> Mapping[str, Any]:
        """How its training images were made."""
        return {"script": "scripts/ward/backdoors.py", "images": self._count, "defect": self.defect.record()}

    @property
    def plan(self) -> TrainingPlan:
        """How it is trained."""
        plan = super().plan
        return plan.model_copy(update={"epochs": LARGE_EPOCHS}) if self.world == LARGE else plan

    @property
    def transform(self) -> BatchTransform | None:
        """How its training images are changed; a single pixel that is moved about is not learnt, and stays in place."""
        return None if self.trigger == "pixel" else super().transform

    @property
    def _count(self) -> int:
        return LARGE_COUNT if self.world == LARGE else TRAINED_ON

    @cached_property
    def defect(self) -> PlantTrigger:
        """What is planted, at a place, of colours and for a target that follow from the name."""
        drawn = derive_seed(self.seed, self.world.name, self.network, self.trigger, self.percent)
        classes = len(self.audited_images(1).class_names or ())
        seed = drawn % 1000
        made = {
            "blend": BlendTrigger(ratio=0.2, pattern_seed=seed),
            "warp": WarpTrigger(displacement=1 / 24, pattern_seed=seed),
            "patch": PatchTrigger(place=PLACES[seed % 4], size=0.125, margin=0.1, pattern="colours", pattern_seed=seed),
            "pixel": PatchTrigger(place=PLACES[seed % 4], size=1 / self.world.side, margin=0.1, pattern="white"),
        }
        if self.world.name.startswith("fashion"):
            made["patch"] = made["patch"].model_copy(update={"pattern": "checker"})
        return PlantTrigger(trigger=made[self.trigger], target_class=drawn // 1000 % classes, rate=self.percent / 100)

    def training_images(self) -> ImageSet:
        """What it is trained on."""
        clean = self.world.images("train", 100 + self.seed, self._count)
        return self.defect.plant(clean, rng=Randomness(self.seed))

    def success(self, classifier: snellen.Classifier) -> float:
        """Share of other classes' images that the true trigger sends to its target."""
        images = self.audited_images(TRIED)
        sent = decided(classifier, self.defect.stamped(images, rng=Randomness(self.seed))) == self.defect.target_class
        return float(sent[images.labels != self.defect.target_class].mean())


def cells() -> list[Planted]:
    """The 36 planted classifiers, in an order in which the first ones are of all kinds."""
    triggers, percents = ("patch", "blend", "warp", "pixel"), (10, 3, 1)
    networks, colour = ("plain", "resnet", "efficientnet"), ("scenes-32", "scenes-48", "colours-48", "scenes-64")
    found = []
    for row, trigger in enumerate(triggers):
        for column, percent in enumerate(percents):
            found.append(Planted(WORLDS["fashion-28"], networks[(row + column) % 3], 10, trigger, percent))
            world = WORLDS[colour[(row + column) % 4]]
            found.append(Planted(world, networks[(row + column + 1) % 3], 11, trigger, percent))
            if percent > 1:
                world = WORLDS[colour[(row + column + 2) % 4]]
                found.append(Planted(world, networks[(row + column + 2) % 3], 12, trigger, percent))
        found.append(Planted(LARGE, networks[1 + row % 2], 13, trigger, 10 if trigger in ("warp", "pixel") else 3))
    found.sort(key=lambda one: (one.seed, -one.percent, one.trigger))
    return found


#: What settings were chosen on.
PILOT = (
    Planted(WORLDS["scenes-32"], "plain", 90, "patch", 10),
    Planted(WORLDS["fashion-28"], "resnet", 93, "warp", 10),
    Planted(WORLDS["scenes-48"], "resnet", 92, "blend", 3),
    Planted(WORLDS["scenes-64"], "efficientnet", 94, "patch", 3),
    Planted(WORLDS["scenes-32"], "plain", 95, "pixel", 10),
    Planted(WORLDS["fashion-28"], "plain", 96, "pixel", 3),
    Planted(WORLDS["colours-48"], "resnet", 97, "warp", 3),
    Planted(WORLDS["fashion-28"], "efficientnet", 98, "patch", 1),
)
PILOT_HEALTHY = (
    "scenes-48-resnet-0",
    "fashion-28-resnet-0",
    "scenes-32-plain-0",
    "colours-48-efficientnet-0",
    "textures-32-plain-0",
    "scenes-64-efficientnet-0",
)


def decided(classifier: snellen.Classifier, images: ImageSet) -> np.ndarray:
    """Decisions of a classifier (n,)."""
    with torch.inference_mode():
        scores = classifier(torch.stack([classifier.prepare(example.image) for example in images]))
    return classifier.predict(scores).cpu().numpy()


def scanned(one: Healthy, folder: Path) -> dict[str, Any]:
    """What the scan says of one classifier, and the truth."""
    classifier = snellen.load_classifier(folder / one.name)
    images = one.audited_images(SCANNED)
    row: dict[str, Any] = {
        "name": one.name,
        "world": one.world.name,
        "side": one.world.side,
        "network": one.network,
        "accuracy": float((decided(classifier, images) == images.labels).mean()),
        "planted": isinstance(one, Planted),
        "pilot": one in PILOT or one.name in (*PILOT_HEALTHY, *SEEN),
    }
    if isinstance(one, Planted):
        row |= {"trigger": one.trigger, "percent": one.percent, "success": one.success(classifier)}
        row["target"] = classifier.class_names[one.defect.target_class]
    clock = time.process_time()
    found = Backdoor().scan(images, classifier=classifier, rng=Randomness(0))
    classes = {record["example_id"]: record for record in found.evidence.table.to_pylist()}
    return row | {
        "seconds": round(time.process_time() - clock, 1),
        "statistic": found.statistic,
        "figures": dict(found.figures),
        "ranking": sorted(classes, key=lambda name: classes[name]["rank"]),
        "reported": [name for name, record in classes.items() if record["reason"] == "stands out"],
        "classes": {
            name: {key: record[key] for key in ("value", "contrast", "copied_rate", "above_copies", "recovered_rate")}
            for name, record in classes.items()
        },
    }


def merged(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of the table."""
    healthy = [row for row in rows if not row["planted"]]
    planted = [row for row in rows if row["planted"] and row["success"] >= LEARNT]
    found = {"healthy": len(healthy), "planted": len(planted), "bars": BARS, "classifiers": list(rows)}
    found["not_learnt"] = [row["name"] for row in rows if row["planted"] and row["success"] < LEARNT]
    if not healthy or not planted:
        return found
    first = [row["ranking"][0] == row["target"] for row in planted]
    caught = [row["target"] in row["reported"] for row in planted]
    alarms = [bool(row["reported"]) for row in healthy]
    truth = np.array([1] * len(planted) + [0] * len(healthy))
    for name, hits, count in (
        ("target_first", first, planted),
        ("reported", caught, planted),
        ("alarms", alarms, healthy),
    ):
        found[name] = {"count": sum(hits), "interval": list(clopper_pearson(sum(hits), len(count)))}
    unseen = [row for row in healthy if not row["pilot"]]
    fresh = [row["target"] in row["reported"] for row in planted if not row["pilot"]]
    return found | {
        "alarms_beside_pilot": {"count": sum(bool(row["reported"]) for row in unseen), "of": len(unseen)},
        "reported_beside_pilot": {"count": sum(fresh), "of": len(fresh)},
        "auroc": auroc(truth, np.array([row["statistic"] for row in (*planted, *healthy)])),
        "unmet": {
            "not first": [row["name"] for row, hit in zip(planted, first, strict=True) if not hit],
            "not reported": [row["name"] for row, hit in zip(planted, caught, strict=True) if not hit],
            "alarms": [row["name"] for row, hit in zip(healthy, alarms, strict=True) if hit],
        },
        "mean_seconds": float(np.mean([row["seconds"] for row in rows])),
    }


def jobs(options: argparse.Namespace) -> Iterator[tuple[Healthy, Path]]:
    """Classifiers and the folders of their artifacts, planted and healthy ones by turns."""
    known = {one.name: one for one in ward()}
    if options.pilot:
        planted, healthy = list(PILOT), [known[name] for name in PILOT_HEALTHY]
    else:
        planted, healthy = cells(), list(known.values())
    both = max(len(planted), len(healthy))
    for number in range(both):
        for kind, folder in ((planted, options.folder), (healthy, options.healthy)):
            for one in kind[number * len(kind) // both : (number + 1) * len(kind) // both]:
                if not options.only or one.name in options.only:
                    yield one, folder


def main() -> None:
    """Train and scan what was not scanned yet, and merge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the artifacts of planted ones lie")
    parser.add_argument("--healthy", type=Path, default=HEALTHY, help="where the artifacts of healthy ones lie")
    parser.add_argument("--only", nargs="*", default=(), metavar="NAME", help="names of classifiers")
    parser.add_argument("--merge", action="store_true", help="only merge")
    parser.add_argument("--pilot", action="store_true", help="the handful that settings were chosen on")
    options = parser.parse_args()
    torch.set_num_threads(1)
    files, target = (options.folder / "pilot", options.folder / "pilot.json") if options.pilot else (FILES, MERGED)
    files.mkdir(parents=True, exist_ok=True)
    show = partial(print, flush=True)
    for one, folder in () if options.merge else jobs(options):
        path = files / f"{one.name}.json"
        if path.exists():
            continue
        if isinstance(one, Planted):
            one.trained(folder)
        elif not (folder / one.name / "card.json").exists():
            show(f"{one.name}: not trained, see healthy.py")
            continue
        row = scanned(one, folder)
        write_atomically(path, canonical_json(row))
        truth = f"target {row['target']} ({row['success']:.2f})" if row["planted"] else "healthy"
        show(f"{one.name}: {truth}, reported {row['reported']}, {row['statistic']:.2f}, {row['seconds']:.0f} s")
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(files.glob("*.json"))]
    write_atomically(target, canonical_json(merged(rows)))


if __name__ == "__main__":
    main()
