"""Do generated images help a classifier of real images? Fashion-MNIST, and a generator that was trained on its classes.

    python scripts/measure_generated_garments.py [--folder build/garments]

A plan is made from a few real training images: it says what generated images will change. Then other students are
trained on the same images and measured on test images that no step has read. What they show should lie within the
plan's interval. The same students say what real, generated and mixed images give at equal updates, in distribution and
on damaged test images. Images are generated once, seeds vary training alone. About 40 minutes of one core. A plan that
was interrupted resumes, and one that is there is kept: take its folder away after a change of sizes. Needs Debian's
dataset-fashion-mnist. Writes docs/measured/generated-garments.json.

The generator saw 60,000 real images of these classes, the few training images among them. That is what a pretrained
generator is: it knows more of the classes than its user has. Validation and test images are of those that it never saw.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from promised_gains import Measured, compared, shown, students_of

import snellen
from snellen.core.images import ImageSet
from snellen.core.randomness import Randomness
from snellen.core.run import canonical_json, write_atomically
from snellen.data.class_balance import first_of_each
from snellen.data.files.manifest import load_manifest
from snellen.methods.corruptions.apply import corrupt
from snellen.methods.corruptions.benchmarks import benchmark as benchmark_of
from snellen.methods.synthesis.by_name import ByName
from snellen.methods.synthesis.synthetic_set import with_classes_of
from snellen.systems.scaling_laws.planning import plan_synthesis
from snellen.systems.scaling_laws.synthesis_plan import RECORD
from snellen.training.batches import ImageStore
from snellen.training.parts import Labelled
from snellen.training.students import (
    StudentPlan,
    mixed,
    part,
    store_of,
    store_to_measure,
)

WRITTEN = Path(__file__).parents[1] / "docs" / "measured" / "generated-garments.json"

#: Images of each class: real ones to train on, real ones that measure the plan, and generated ones.
REAL, VALIDATION, MADE = 40, 100, 100

#: Test images, students of the plan and of the proof, and the first seed of the latter.
TESTED, PLANNED_SEEDS, PROOF_SEEDS, FIRST = 5000, 5, 8, 100

#: Guidance scales of the grid, and steps of the sampler.
SCALES, STEPS = (1.0, 2.0, 4.0), 15

#: Damage of the shifted test images, at severity 3 of 5.
DAMAGE = ("gaussian_noise", "defocus_blur", "brightness", "contrast", "fog")

STUDENTS = StudentPlan(side=28, amount=300)


def sets() -> tuple[ImageSet, ImageSet, ImageSet]:
    """Real training images, those that measure the plan, and those that prove it; the generator saw the first alone."""
    real = first_of_each(snellen.load_images("known:fashion-mnist#train"), REAL, seed=0)
    unseen = snellen.load_images("known:fashion-mnist#test")
    unseen = replace(
        unseen, table=unseen.table.drop_columns(["split"]), split=None
    )  # a part of them is validation here
    validation = first_of_each(unseen, VALIDATION, seed=0)
    chosen = set(validation.ids)
    rest = unseen.select(np.array([row for row, one in enumerate(unseen.ids) if one not in chosen]))
    return real, validation, rest.limit(TESTED, 0)


def damaged(store: ImageStore) -> ImageStore:
    """Test images, each damaged by one kind."""
    imagenet_c, images = benchmark_of("imagenet-c"), store.images.float() / 255
    changed = images.clone()
    for place, kind in enumerate(DAMAGE):
        rows = torch.arange(place, len(images), len(DAMAGE))
        rng = Randomness(0).child("damaged garments", kind).for_examples([store.ids[row] for row in rows.tolist()])
        changed[rows] = corrupt(images[rows], imagenet_c, kind, 3, rng)
    pixels = (changed.clamp(0, 1) * 255).round().to(torch.uint8)
    return ImageStore.of_tensors(pixels, store.targets)


def main() -> None:
    """Plan, generate, train, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("build") / "garments")
    options = parser.parse_args()
    real, validation, test = sets()
    settings = [ByName(generator="bundled:fashion-diffusion", guidance_scale=one, steps=STEPS) for one in SCALES]
    record = options.folder / "plan" / RECORD
    if not record.exists():
        plan_synthesis(
            settings,
            real,
            validation=validation,
            out=record.parent,
            students=STUDENTS,
            count=MADE,
            seeds=PLANNED_SEEDS,
        )
    plan = json.loads(record.read_bytes())
    (kept,) = (row["setting"] for row in plan["grid"] if row["kept"])
    made = with_classes_of(load_manifest(options.folder / "plan-images" / "manifest.csv"), real)
    stores: dict[str, Labelled] = {"real": store_of(real, STUDENTS), "made": store_of(made, STUDENTS)}
    plain = store_to_measure(test, STUDENTS)
    assert isinstance(plain, ImageStore)
    tests = {"in distribution": plain, "damaged": damaged(plain)}

    classes = len(real.class_names or ())

    @cache
    def students(count_real: int, count_made: int) -> Measured:
        chosen = [
            part(stores[name], first_of_each(images, count, seed=seed).ids) if count else None
            for name, images, count, seed in (("real", real, count_real, 0), ("made", made, count_made, None))
        ]
        seeds = range(FIRST, FIRST + PROOF_SEEDS)
        return students_of(mixed(*chosen, STUDENTS.real_share), STUDENTS, classes, seeds, tests)

    arms = {"real": students(REAL, 0), "generated": students(0, MADE), "mixed": students(REAL, MADE)}
    rows = compared(plan["gains"], classes, lambda *counts: students(*counts)["in distribution"])
    written = {
        "real": REAL,
        "generated": MADE,
        "tested": len(test),
        "seeds": PROOF_SEEDS,
        "kept": kept,
        "grid": plan["grid"],
        "laws": plan["laws"],
        "advice": plan["advice"],
        "arms": {
            name: {
                test_set: shown(arm[test_set], arms["real"][test_set] if name != "real" else None) for test_set in tests
            }
            for name, arm in arms.items()
        },
        "gains": rows,
    }
    write_atomically(WRITTEN, canonical_json(written))


if __name__ == "__main__":
    main()
