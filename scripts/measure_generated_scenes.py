"""Generated training images of 64 pixels: what they do under shift, how they scale, and what adapting to shots brings.

    python scripts/measure_generated_scenes.py [--folder build/scenes-64] [PART ...]

The generator is the one of scripts/embedded/train_scene_autoencoder_64.py, which is trained first. It never saw
circles, crescents, arrows and hourglasses, so these are the classes that it cannot draw. Three parts:

- ``shift``: plain scenes on grey, and test images of other backgrounds, textures and weather and of line drawings. What
  real, generated and mixed images give at equal updates.
- ``laws``: eight shapes, two of them unknown to the generator. A plan over three guidance scales. Other students then
  show what the plan promised, on test images that it has not read.
- ``adapted``: four unknown shapes and two known ones, eight shots of each. Students of the generator's images as it is,
  and of images after an adapter was fitted to the shots of each class.

Images are generated once in ``shift`` and ``laws``, and seeds vary training alone. In ``adapted`` each seed draws its
own shots. A part that was interrupted resumes, and one that is there is kept: take its folder away after a change of
sizes. About 70 minutes of one core. Writes docs/measured/generated-scenes.json, with the parts that are finished.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from promised_gains import Measured, compared, students_of

from snellen.core.images import ImageSet, Split
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Silent
from snellen.core.run import canonical_json, write_atomically
from snellen.data.class_balance import first_of_each
from snellen.data.files.manifest import load_manifest
from snellen.data.worlds.optotypes.factors import Shape
from snellen.data.worlds.optotypes.small_world import SHAPES, WORLD
from snellen.methods.synthesis.by_name import ByName
from snellen.methods.synthesis.nearness import COPY, nearness, spread_of, thumbnails
from snellen.methods.synthesis.synthesizing import synthesize_into
from snellen.methods.synthesis.synthetic_set import with_classes_of
from snellen.metrics.loss_gain import gain
from snellen.reproduction.conditional_generation.materials import LOOKS
from snellen.reproduction.few_shot_adaptation.experiment import KNOWN, NEW
from snellen.reproduction.few_shot_adaptation.experiment import SMALL as FEW_SHOT
from snellen.reproduction.scaling_laws.materials import UNKNOWN
from snellen.runs.settings import Setting
from snellen.systems.conditional_generation.record import RECORD as STUDY
from snellen.systems.conditional_generation.study import study_robustness
from snellen.systems.few_shot_adaptation.adapting import AdapterFit
from snellen.systems.few_shot_adaptation.few_shot import fit_adapters
from snellen.systems.few_shot_adaptation.shots import few_shots
from snellen.systems.scaling_laws.planning import plan_synthesis
from snellen.systems.scaling_laws.power_law import exponent_difference
from snellen.systems.scaling_laws.scaling_run import ScalingRun
from snellen.systems.scaling_laws.synthesis_plan import RECORD as PLAN
from snellen.training.batches import ImageStore
from snellen.training.parts import Labelled
from snellen.training.students import StudentPlan, mixed, part, store_of, store_to_measure

WRITTEN = Path(__file__).parents[1] / "docs" / "measured" / "generated-scenes.json"
GENERATOR = Path("build") / "embedded" / "scene-diffusion-64"

#: Pixels along each side.
SIDE = 64

#: Looks of the test images under shift.
SHIFTS: Mapping[str, Mapping[str, Any]] = {
    "backgrounds": {"backgrounds": ("grass", "sand", "brick")},
    "textures": {"textures": ("striped", "dotted")},
    "weather": {"nuisance_share": 1.0},
    "drawings": {"styles": ("line",)},
}

#: The look of the real images of ``shift``.
PLAIN: Mapping[str, Any] = {"textures": ("plain",), "backgrounds": ("grey",), "nuisance_share": 0.0}


#: Recipes of students: as the records of the two systems have them, but for the side.
BY_EPOCHS, BY_UPDATES = StudentPlan(side=SIDE, schedule="epochs", amount=24), StudentPlan(side=SIDE, amount=150)


@dataclass(frozen=True)
class Size:
    """How much of everything.

    Attributes:
        steps: of the sampler.
        shift_real, shift_test: real images of each class under ``shift``, and test images of each set.
        shift_students, shift_seeds: their recipe and number.
        scales: guidance scales of the plan.
        real, made, validation, tested: images of each class of ``laws``: real and generated ones of the largest size,
            those that measure the plan, and those that prove it.
        probe: generated images of each class and scale that are scored.
        students: the recipe of ``laws`` and ``adapted``.
        plan_seeds, proof_seeds: students of each point.
        shots, adapted_made, adapted_test, oracle: images of each class of ``adapted``; the last are real ones that a
            judge of generated images is trained on.
        adapted_seeds: seeds of it.
        fit: of the adapters.
    """

    steps: int = 20
    shift_real: int = 40
    shift_test: int = 100
    shift_students: StudentPlan = BY_EPOCHS
    shift_seeds: int = 5
    scales: tuple[float, ...] = (1.0, 2.0, 7.5)
    real: int = 100
    made: int = 100
    validation: int = 100
    tested: int = 150
    probe: int = 20
    students: StudentPlan = BY_UPDATES
    plan_seeds: int = 4
    proof_seeds: int = 5
    shots: int = 8
    adapted_made: int = 48
    adapted_test: int = 100
    oracle: int = 150
    adapted_seeds: int = 4
    fit: AdapterFit = FEW_SHOT.fit


#: First seed of the students that prove a plan, and of those that are adapted for.
FIRST_PROOF = 100


def scenes(split: Split, per_class: int, *, shapes: tuple[Shape, ...] = SHAPES, seed: int = 0, **look: Any) -> ImageSet:  # noqa: ANN401 - fields of the world
    """As many scenes of each shape, of 64 pixels."""
    count = per_class * len(shapes) * 2 + 80
    world = WORLD.model_copy(update={"size": SIDE, "shapes": shapes, "count": count, "seed": seed, **look})
    return first_of_each(world.images(split=split), per_class)


def generator() -> str:
    """The reference of the generator.

    Raises:
        SystemExit: it was not trained.
    """
    if not (GENERATOR / "model_index.json").exists():
        raise SystemExit(f"{GENERATOR} is missing; run: python scripts/embedded/train_scene_autoencoder_64.py")
    return f"diffusers:{GENERATOR}"


def named(size: Size) -> ByName:
    """Images by the name of their class."""
    return ByName(generator=generator(), steps=size.steps, templates=("a {}",))


def shift(folder: Path, size: Size) -> dict[str, Any]:
    """Accuracy of real, generated and mixed images, at kept epochs and at equal updates."""
    tests = [
        replace(scenes("val", size.shift_test, seed=2 + place, **{**PLAIN, **look}), name=name)
        for place, (name, look) in enumerate(SHIFTS.items())
    ]
    record = folder / STUDY
    if not record.exists():
        study_robustness(
            ByName(generator=generator(), templates=LOOKS, steps=size.steps),
            scenes("train", size.shift_real, **PLAIN),
            tests,
            out=folder,
            validation=scenes("val", size.shift_test, seed=1, **PLAIN),
            students=size.shift_students,
            augmentations=(),
            seeds=size.shift_seeds,
            pool=1,
        )
    found = json.loads(record.read_bytes())
    return {
        "real": size.shift_real,
        "tested": size.shift_test,
        "seeds": size.shift_seeds,
        **{name: found[name] for name in ("accuracies", "robustness", "lines", "advice")},
    }


def laws(folder: Path, size: Size) -> dict[str, Any]:
    """The plan over all scales, and what other students show of the promises of the most promising one."""
    shapes = (*SHAPES, *UNKNOWN)
    real = scenes("train", size.real, shapes=shapes)
    record = folder / PLAN
    if not record.exists():
        plan_synthesis(
            [
                ByName(generator=generator(), guidance_scale=w, steps=size.steps, templates=("a {}",))
                for w in size.scales
            ],
            real,
            out=folder,
            validation=scenes("val", size.validation, shapes=shapes, seed=1),
            students=size.students,
            probe=size.probe,
            keep=len(size.scales),
            count=size.made,
            seeds=size.plan_seeds,
        )
    plan = json.loads(record.read_bytes())
    scales = {row["setting"]: row["guidance_scale"] for row in plan["plan"]["settings"]}
    best = plan["grid"][0]["setting"]
    path = folder.with_name(f"{folder.name}-images") / f"{best}.csv"
    made = with_classes_of(load_manifest(path), real)
    stores: dict[str, Labelled] = {"real": store_of(real, size.students), "made": store_of(made, size.students)}
    tests = {"proof": store_to_measure(scenes("test", size.tested, shapes=shapes, seed=2), size.students)}

    @cache
    def students(count_real: int, count_made: int) -> Measured:
        chosen = [
            part(stores[name], first_of_each(images, count, seed=seed).ids) if count else None
            for name, images, count, seed in (("real", real, count_real, 0), ("made", made, count_made, None))
        ]
        seeds = range(FIRST_PROOF, FIRST_PROOF + size.proof_seeds)
        return students_of(mixed(*chosen, None), size.students, len(shapes), seeds, tests)

    promised = [row for row in plan["gains"] if row["config"].startswith(f"{best} + ")]
    return {
        **{name: getattr(size, name) for name in ("real", "made", "validation", "tested", "plan_seeds", "proof_seeds")},
        "scales": scales,
        "best": best,
        "unknown": list(UNKNOWN),
        **{name: plan[name] for name in ("scorer", "grid", "laws", "classes", "advice")},
        "differences": differences(plan["runs"], scales),
        "gains": compared(promised, len(shapes), lambda *counts: students(*counts)["proof"]),
    }


def differences(runs: list[dict[str, Any]], scales: Mapping[str, float]) -> list[dict[str, Any]]:
    """Of each lower scale: its exponent less that of the highest one, and its loss at the largest size less that one's.

    The loss has no interval of its own here: seeds give its range.
    """
    of = {name: [ScalingRun.model_validate(row) for row in runs if row["config"] == name] for name in scales}
    usual = max(scales, key=lambda name: scales[name])
    largest = max(run.size for run in of[usual])
    last = {name: np.array([run.loss for run in sorted_runs(one) if run.size == largest]) for name, one in of.items()}
    found = []
    for name in scales:
        if name == usual:
            continue
        less, interval = exponent_difference(of[name], of[usual], rng=np.random.default_rng(0))
        by_seed = last[name] - last[usual]
        found.append(
            {
                "scale": scales[name],
                "than": scales[usual],
                "exponent": [less, interval.low, interval.high],
                "loss": [float(by_seed.mean()), float(by_seed.min()), float(by_seed.max())],
            }
        )
    return found


def sorted_runs(runs: list[ScalingRun]) -> list[ScalingRun]:
    """By seed, so that losses of two curves are paired."""
    return sorted(runs, key=lambda run: (run.size, run.seed))


def adapted(folder: Path, size: Size) -> dict[str, Any]:
    """Students of the generator's images as it is and adapted, and the copies among them."""
    seeds = []
    for seed in range(FIRST_PROOF, FIRST_PROOF + size.adapted_seeds):
        kept = folder / f"seed-{seed}.json"
        if not kept.exists():
            found = adapted_seed(folder / str(seed), size, seed)
            write_atomically(kept, canonical_json(found))
        seeds.append(json.loads(kept.read_bytes()))
    names = list(seeds[0]["right"])
    right = {name: np.array([one["right"][name] for one in seeds], dtype=np.float64) for name in names}
    new = np.array(seeds[0]["new"], dtype=bool)

    def change(ours: str, theirs: str) -> list[float]:
        found = gain(right[ours], right[theirs], rng=np.random.default_rng(0))
        return [found.change, found.interval.low, found.interval.high]

    return {
        **{name: getattr(size, name) for name in ("shots", "adapted_made", "adapted_test", "adapted_seeds")},
        "new": list(NEW),
        "accuracy": {name: [float(one.mean()), float(one[:, new].mean())] for name, one in right.items()},
        "changes": {
            "adapted less unadapted": change("adapted", "unadapted"),
            "adapted and shots less shots": change("adapted and shots", "shots"),
        },
        "copied": {name: float(np.mean([one["copied"][name] for one in seeds])) for name in ("unadapted", "adapted")},
        "recognised": {
            name: np.mean([one["recognised"][name] for one in seeds], axis=0).tolist()
            for name in ("unadapted", "adapted")
        },
        "kept_steps": [one["kept_steps"] for one in seeds],
    }


def adapted_seed(folder: Path, size: Size, seed: int) -> dict[str, Any]:
    """One seed: shots, adapters, images, and students of each set on the same test images."""
    shapes = (*NEW, *KNOWN)
    shots = few_shots(scenes("train", max(size.oracle, size.shots), shapes=shapes), size.shots, seed)
    assert shots.images is not None
    plain = named(size)
    fitted = fit_adapters(plain, shots, folder / "adapters", fit=size.fit, seed=seed)
    methods = {"unadapted": plain, "adapted": plain.model_copy(update={"adapter": folder / "adapters"})}
    made = {}
    for name, method in methods.items():
        written = synthesize_into(
            [Setting(name, method)], shots, folder / name, count=size.adapted_made, seed=seed, sheet=False,
            progress=Silent(),
        )  # fmt: skip
        made[name] = ImageStore.of_images(
            with_classes_of(load_manifest(written.manifest), shots.images), size.students.preparation
        )
    real = ImageStore.of_images(shots.images, size.students.preparation)
    fresh = scenes("train", size.oracle, shapes=shapes, seed=7)
    sets: dict[str, Labelled] = {
        "shots": real,
        **made,
        "adapted and shots": mixed(real, made["adapted"], 0.5),
        "oracle": store_of(fresh, size.students),
    }
    test = store_to_measure(scenes("val", size.adapted_test, shapes=shapes, seed=8), size.students)
    tests = {"test": test, **made}
    found = {name: students_of(one, size.students, len(shapes), [seed], tests) for name, one in sets.items()}
    names = shots.images.class_names or ()
    small = thumbnails(to_unit(real.images))
    new_class = np.array([name in NEW for name in names])
    recognised = {name: found["oracle"][name][0] for name in made}
    return {
        "right": {name: one["test"][0].right.astype(int).tolist() for name, one in found.items()},
        "new": new_class[test.targets.numpy()].tolist(),
        "copied": {
            name: float((nearness(to_unit(one.images), small, spread_of(small)) < COPY).float().mean())
            for name, one in made.items()
        },
        "recognised": {
            name: [float(one.right[new_class[one.targets] == wanted].mean()) for wanted in (True, False)]
            for name, one in recognised.items()
        },
        "kept_steps": [one.steps for one in fitted.card.adapters.values()],
    }


PARTS: Mapping[str, Callable[[Path, Size], dict[str, Any]]] = {"shift": shift, "laws": laws, "adapted": adapted}


def main() -> None:
    """Measure the parts and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build") / "scenes-64")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; default: all")
    options = parser.parse_args()
    if unknown := sorted(set(options.parts) - set(PARTS)):
        parser.error(f"there is no part {', '.join(unknown)}; there are: {', '.join(PARTS)}")
    for name in options.parts or PARTS:
        found = PARTS[name](options.folder / name, Size())
        known = json.loads(WRITTEN.read_bytes()) if WRITTEN.exists() else {}
        worth = json.loads((GENERATOR / "training.json").read_bytes())["autoencoder"]["validation"]
        write_atomically(WRITTEN, canonical_json({**known, "autoencoder": worth, name: found}))


if __name__ == "__main__":
    main()
