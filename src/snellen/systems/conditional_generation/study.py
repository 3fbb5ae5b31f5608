"""``snellen synthesize robustness``: what generated images do to a classifier in distribution and under shift.

Each setting generates a twin of the training images, and of the validation images a set that nothing is trained on (as
ImageNet-G, Bansal and Grover 2023). Students of one recipe learn from real images, from the twin and from both. All are
measured on validation images, on shifted test sets and on the generated ones; a line through standard models says what
accuracy under shift their accuracy in distribution lets expect. Every student is a shard: a killed study loses one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch

from snellen.core.budget import time_words
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress, Silent
from snellen.core.rehearsal import rehearsing
from snellen.core.run import Run
from snellen.core.run_plan import describe_data, describe_machine
from snellen.data.class_balance import first_of_each, held_out
from snellen.data.files.manifest import load_manifest
from snellen.methods.synthesis.forecast import seconds_an_image
from snellen.methods.synthesis.manifest_rows import Source
from snellen.methods.synthesis.synthesizing import conditioned, synthesize_into
from snellen.methods.synthesis.synthetic_set import with_classes_of
from snellen.metrics.class_subset import Groups, restricted, shared_classes
from snellen.runs.measuring import Put
from snellen.runs.runner import Call, Running, carried_out
from snellen.runs.settings import Methods, Setting, named_settings
from snellen.runs.shard import Shard
from snellen.runs.unfinished import check_free
from snellen.systems.conditional_generation.arms import Arm, Augmentation, arms_of, share_of_each
from snellen.systems.conditional_generation.reading import IN_DISTRIBUTION, concluded, generated_name
from snellen.systems.conditional_generation.record import RECORD, WHAT, RobustnessStudy
from snellen.training.parts import Labelled
from snellen.training.students import (
    StudentPlan,
    check_real,
    measured,
    mixed,
    part,
    seconds_of_students,
    store_of,
    store_to_measure,
    train_student,
)

#: What progress calls it.
TASK = "training students"

#: One in so many real images measures accuracy, where none are given for that.
SHARE_HELD_OUT = 5

#: The recipe of all students, at the size of a desk.
RECIPE = StudentPlan(schedule="epochs", amount=20)

#: The published recipe: ResNet-18 with blurred strides, 160 pixels, 56 epochs of SGD, the rate rising for two of them.
PUBLISHED = StudentPlan(
    architecture="timm:resnetblur18",
    side=160,
    schedule="epochs",
    amount=56,
    batch_size=128,
    optimizer="sgd",
    learning_rate=0.5,
    weight_decay=5e-5,
    course="linear",
    warmup=2 / 56,
    label_smoothing=0.1,
    crops=True,
)


@dataclass(frozen=True, eq=False)
class Data:
    """Images of a study.

    Attributes:
        real: to train on.
        tests: images that are measured on, by name; the first are like the real ones.
        groups: the classes of each test set among those of the real images.
    """

    real: ImageSet
    tests: dict[str, ImageSet]
    groups: dict[str, Groups]

    @classmethod
    def of(
        cls,
        images: ImageSet,
        validation: ImageSet | None,
        shifted: Sequence[ImageSet],
        names: Mapping[str, str | Sequence[str]],
        seed: int,
    ) -> Data:
        """Training images, and those that measure: given ones, the split ``val``, or a fifth of each class.

        Raises:
            InputError: generated images among the real ones, or a shifted class that the real images do not have.
        """
        source = Source.of_images(images)
        assert source.images is not None
        real, splits = source.images, images.column("split")
        if validation is None and "val" in splits:
            validation = images.of_split("val")
        if validation is None:
            real, validation = held_out(real, SHARE_HELD_OUT, seed)
        for what, one in (("training", real), ("accuracy in distribution", validation)):
            check_real(one, what)
        called = [one.name for one in shifted]
        if not called:
            raise InputError("robustness is measured under shift: give at least one shifted test set, --shifted")
        if len({IN_DISTRIBUTION, *called}) <= len(called):
            raise InputError(f"shifted test sets need different names; got {', '.join(called)}")
        trained = {real.content_hash(row) for row in range(len(real))}
        for name, one in ((IN_DISTRIBUTION, validation), *zip(called, shifted, strict=True)):
            same = sum(one.content_hash(row) in trained for row in range(len(one)))
            if same:
                raise InputError(
                    f"{same} of {len(one)} images of {one.name} ({name}) are training images: what is trained on "
                    f"measures nothing; give other test images"
                )
        tests = {IN_DISTRIBUTION: validation, **dict(zip(called, shifted, strict=True))}
        own = real.class_names or ()
        groups = {}
        for name, one in tests.items():
            if one.class_names is None:
                raise InputError(f"{name}: a test set needs labels, and this one has none")
            known = {key: value for key, value in names.items() if key in one.class_names}
            groups[name] = shared_classes(own, one.class_names, known)
        return cls(real, tests, groups)


@dataclass(frozen=True, eq=False)
class Students:
    """Everything that students read, in memory; an item is a student, or behind them a given model."""

    arms: Sequence[Arm]
    models: Sequence[Classifier]
    plan: StudentPlan
    data: Data
    real: Labelled
    made: dict[str, Labelled]
    tests: dict[str, ImageSet]
    mirrored: bool
    seed: int

    def measure(self, of: str, items: range, put: Put, progress: Progress) -> Shard:
        """Train and measure some students; see :class:`~snellen.runs.measuring.Work`."""
        rows = []
        for item in items:
            right = self.student(self.arms[item]) if item < len(self.arms) else self.given(item - len(self.arms))
            rows.append({"item": item, "right": {name: one.astype(int).tolist() for name, one in right.items()}})
            progress.advance(TASK, 1)
        return Shard(extra={"students": rows})

    def student(self, arm: Arm) -> dict[str, np.ndarray]:
        """Whether one student is right on each image of every test set.

        Generated sets are made of the classes of the validation images, in their order.
        """
        classes = len(self.data.real.class_names or ())
        network = train_student(
            self.examples(arm), arm.recipe(self.plan, len(self.real)), classes, arm.seed, transform=arm.transform
        )
        return {
            name: measured(
                network,
                store,
                groups=self.data.groups.get(name, self.data.groups[IN_DISTRIBUTION]),
                mirrored=self.mirrored,
            ).right
            for name, store in self.stores.items()
        }

    @cached_property
    def stores(self) -> dict[str, Labelled]:
        """All test sets as students read them, each decoded once."""
        return {name: store_to_measure(one, self.plan) for name, one in self.tests.items()}

    def examples(self, arm: Arm) -> Labelled:
        """What a student trains on: real and generated images, one behind the other, each counting the same."""
        ids = share_of_each(self.data.real, arm.share, self.seed)
        real = part(self.real, ids) if arm.share else None
        return mixed(real, self.made[arm.setting] if arm.setting else None, None)

    def given(self, number: int) -> dict[str, np.ndarray]:
        """The same of a model that was given, with its own preparation and classes."""
        model, found = self.models[number], {}
        for name, images in self.tests.items():
            groups = shared_classes(model.class_names, images.class_names or ())
            store = store_to_measure(images, self.plan, preparation=model.preparation)
            scores = []
            for positions in torch.arange(len(store)).split(64):
                with torch.no_grad():
                    pixels = to_unit(store.read(positions)[0]).to(model.device)
                    own = model(pixels)
                    scores.append((own + model(pixels.flip(3)) if self.mirrored else own).cpu())
            found[name] = (restricted(torch.cat(scores), groups).argmax(1) == store.targets).numpy()
        return found


def study_robustness(
    method: Methods,
    images: ImageSet,
    shifted: Sequence[ImageSet],
    *,
    out: Path | str,
    validation: ImageSet | None = None,
    names: Mapping[str, str | Sequence[str]] | None = None,
    models: Sequence[Classifier] = (),
    students: StudentPlan = RECIPE,
    augmentations: Sequence[Augmentation] = ("augmix", "rand-augment"),
    seeds: int = 5,
    pool: int = 2,
    mirrored: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    **running: Unpack[Running],
) -> RobustnessStudy:
    """Say what real, generated and mixed training images do in distribution and under shift.

    The generated twins lie beside ``out``, in ``OUT-twins``, and the generated validation images in ``OUT-stress``,
    each a data set by itself. Call it again with the same arguments to resume.

    Args:
        method: settings of the generator, of the area ``synthesis``: what a twin is conditioned on.
        images: labelled real images. Of several splits, ``train`` is trained on and ``val`` measures; test images are
            not touched.
        shifted: test sets of other distributions, of the same classes or of a part of them.
        out: a new or empty folder, or one in which the same call was interrupted.
        validation: images that measure accuracy in distribution; None: the split ``val``, or a fifth of each class.
        names: classes of ``images`` for a class of a shifted set that is called otherwise, or stands for several.
        models: classifiers of these classes that are measured beside the students.
        students: the recipe of all students, by epochs.
        augmentations: common ones that mixtures are compared with.
        seeds: students of each kind.
        pool: standard models of each share of the real images, for the line of effective robustness.
        mirrored: add the scores of each test image mirrored, for all students and models.
        seed: of everything random but the students.
        progress: callback that receives progress updates.
        running: see :class:`~snellen.runs.runner.Running`; neither a budget nor a part.

    Raises:
        InputError: no shifted set, generated images among the real ones, classes that do not fit, a recipe by updates,
            or a setting that cannot be used.
        UnwritableError, RunConflictError: see :func:`snellen.synthesize`.
    """
    folder, listener, settings = Path(out), progress or Silent(), named_settings(method, "synthesis")
    check_free(folder, RECORD, WHAT)
    if running.get("budget") is not None or running.get("part") is not None:
        raise InputError(f"a {WHAT} takes neither a budget nor a part: its size is decided by --epochs and --seeds")
    if students.schedule != "epochs":
        raise InputError(f"the recipe of a {WHAT} goes by epochs, and the controls by updates; give schedule='epochs'")
    data = Data.of(images, validation, shifted, names or {}, seed)
    arms = arms_of([setting.name for setting in settings], augmentations=augmentations, seeds=seeds, pool=pool)
    listener.begin(WHAT, 3)  # generated training images, generated validation images, students
    if progress is not None and not folder.exists() and not rehearsing():
        seconds = forecast(settings, data, arms, students, seed)
        count = (len(data.real) + len(data.tests[IN_DISTRIBUTION])) * len(settings)
        listener.advance(WHAT, 0, f"{count:,} images and {len(arms)} students take about {time_words(seconds)} here")

    @cache
    def prepared() -> tuple[dict[str, ImageSet], dict[str, ImageSet]]:
        twins = generated(
            settings, Source.of_images(data.real), folder.with_name(f"{folder.name}-twins"), seed, listener
        )
        listener.advance(WHAT, 1)
        own = data.tests[IN_DISTRIBUTION]
        measuring = Source(own.class_names or (), own, "val")
        stress = generated(settings, measuring, folder.with_name(f"{folder.name}-stress"), seed, listener)
        listener.advance(WHAT, 1)
        return twins, stress

    def work(_: Run) -> Students:
        twins, stress = prepared()
        made = {name: store_of(one, students) for name, one in twins.items()}
        real = store_of(data.real, students)
        tests = {**data.tests, **{generated_name(setting): one for setting, one in stress.items()}}
        return Students(arms, models, students, data, real, made, tests, mirrored, seed)

    def plan() -> dict[str, Any]:
        twins, stress = prepared()
        return {
            "kind": WHAT,
            "data": describe_data(data.real, listener),
            "tests": {name: describe_data(one, listener) for name, one in data.tests.items()},
            "groups": {name: [list(group) for group in one] for name, one in data.groups.items()},
            "settings": [{"setting": setting.name, **setting.record} for setting in settings],
            "twins": {name: [one.fingerprint(listener), len(one)] for name, one in twins.items()},
            "stress": {name: [one.fingerprint(listener), len(one)] for name, one in stress.items()},
            "models": [[one.name, one.fingerprint()] for one in models],
            "students": students.model_dump(mode="json"),
            "augmentations": list(augmentations),
            "seeds": seeds,
            "pool": pool,
            "mirrored": mirrored,
            "seed": seed,
            **describe_machine(None),
        }

    def call(_: int) -> Call[RobustnessStudy]:
        count = len(arms) + len(models)
        return Call(
            what=WHAT,
            result=RobustnessStudy,
            plan=plan,
            work=work,
            shards=[range(row, row + 1) for row in range(count)],
            task=TASK,
            conclude=lambda run, where: concluded(run, arms, [one.name for one in models], where),
            images=None,
            seen=lambda _: range(0),
            fits=True,
            forecast=lambda: forecast(settings, data, arms, students, seed),
            rejected=lambda _: (),
            name=data.real.name,
        )

    with carried_out(call, len(arms) + len(models), folder, listener, running) as carried:
        carried.measure()
    listener.advance(WHAT, 1)
    listener.finish(WHAT)
    return carried.result


def generated(
    settings: Sequence[Setting],
    source: Source,
    folder: Path,
    seed: int,
    progress: Progress,
    *,
    batch_size: int = 32,
    sheet: bool = True,
) -> dict[str, ImageSet]:
    """One image for each of the source in each setting, with the classes of the source."""
    assert source.images is not None
    made = synthesize_into(
        settings, source, folder, count=None, batch_size=batch_size, seed=seed, sheet=sheet, progress=progress
    )
    return {name: with_classes_of(load_manifest(path), source.images) for name, path in made.manifests.items()}


def forecast(settings: Sequence[Setting], data: Data, arms: Sequence[Arm], recipe: StudentPlan, seed: int) -> float:
    """Seconds of this machine, by a few steps of the generator in each setting and a few updates of a student."""
    source = Source.of_images(data.real)
    each = sum(seconds_an_image(conditioned(one), source, seed) for one in settings)
    images = len(data.real) + len(data.tests[IN_DISTRIBUTION])
    tested = sum(len(one) for one in data.tests.values())
    few = store_of(first_of_each(data.real, 1), recipe)
    classes = len(data.real.class_names or ())
    total = 0.0
    for own in {arm.recipe(recipe, len(data.real)) for arm in arms}:
        sizes = [
            round(len(data.real) * (arm.share + (arm.setting is not None)))
            for arm in arms
            if arm.recipe(recipe, len(data.real)) == own
        ]
        total += seconds_of_students(few, own, classes, sizes, tested)
    return images * each + total
