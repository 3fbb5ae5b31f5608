"""``snellen synthesize plan``: the cheap part of a scaling study, before anybody pays for generation.

A few images of every setting are scored (recognisability, diversity) and the most promising settings are kept. Of
these, nested sizes are generated once; students train on real, synthetic and mixed images; the laws, the gains with
intervals and the groups of classes follow. Every student is a shard, so a killed plan loses one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Unpack

from snellen.core.budget import time_words
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.progress import Progress, Silent
from snellen.core.rehearsal import rehearsing
from snellen.core.run import Run
from snellen.core.run_plan import describe_data, describe_machine
from snellen.data.class_balance import first_of_each, held_out, largest_balanced
from snellen.data.files.manifest import load_manifest
from snellen.methods.synthesis.forecast import seconds_an_image
from snellen.methods.synthesis.manifest_rows import Source
from snellen.methods.synthesis.set_quality import SetQuality, check_independent, promise, set_quality
from snellen.methods.synthesis.synthesizing import conditioned, synthesize_into
from snellen.methods.synthesis.synthetic_set import with_classes_of
from snellen.runs.measuring import Put
from snellen.runs.runner import Call, Running, carried_out
from snellen.runs.settings import Methods, Setting, named_settings
from snellen.runs.shard import Shard
from snellen.runs.unfinished import check_free
from snellen.systems.scaling_laws.curves import concluded
from snellen.systems.scaling_laws.design import Cell, cells_of
from snellen.systems.scaling_laws.scaling_run import IN_DISTRIBUTION
from snellen.systems.scaling_laws.synthesis_plan import RECORD, WHAT, GridRow, SynthesisPlan
from snellen.training.parts import Labelled
from snellen.training.students import (
    StudentPlan,
    StudentResult,
    as_classifier,
    check_real,
    measured,
    mixed,
    on_all_tests,
    part,
    seconds_of_students,
    store_of,
    train_student,
)

#: What progress calls it.
TASK = "training students"

#: One in so many real images measures losses, where none are given for that.
SHARE_HELD_OUT = 5


@dataclass(frozen=True, eq=False)
class Data:
    """Images of a plan.

    Attributes:
        real: to train on.
        tests: images that losses are measured on, by name; the first are like the real ones.
    """

    real: ImageSet
    tests: dict[str, ImageSet]

    @classmethod
    def of(cls, images: ImageSet, validation: ImageSet | None, shifted: dict[str, ImageSet], seed: int) -> Data:
        """Training images, and those that measure: given ones, the split ``val``, or a fifth of each class.

        Raises:
            InputError: generated images among them, other classes, or too few images of a class.
        """
        source = Source.of_images(images)
        assert source.images is not None
        real, splits = source.images, images.column("split")
        if validation is None and "val" in splits:
            validation = images.of_split("val")
        if validation is None:
            real, validation = held_out(real, SHARE_HELD_OUT, seed)
        for what, one in (("training", real), ("the measured loss", validation)):
            check_real(one, what)
        for one in (validation, *shifted.values()):
            if one.class_names != real.class_names:
                raise InputError(f"{one.name} has other classes than {real.name}; both need the same, in one order")
        return cls(real, {IN_DISTRIBUTION: validation, **shifted})


@dataclass(frozen=True, eq=False)
class Forecast:
    """What a plan will take, before anything is generated."""

    settings: Sequence[Setting]
    data: Data
    recipe: StudentPlan
    probe: int
    keep: int
    count: int
    cells: Sequence[Cell]
    seed: int

    def seconds(self) -> float:
        """Of this machine: a few steps of the generator in each setting, and a few updates of a student."""
        source, classes = Source.of_images(self.data.real), len(self.data.real.class_names or ())
        each = sorted(seconds_an_image(conditioned(one), source, self.seed) for one in self.settings)
        # The slowest settings may be those that are kept; their first images are there already.
        images = self.probe * sum(each) + max(self.count - self.probe, 0) * sum(each[-self.keep :])
        sizes = [(cell.real + cell.made) * classes for cell in self.cells]
        few = store_of(first_of_each(self.data.real, 2), self.recipe)
        tested = sum(len(one) for one in self.data.tests.values())
        return classes * images + seconds_of_students(few, self.recipe, classes, sizes, tested)

    def words(self) -> str:
        """The same for people."""
        rest = max(self.count - self.probe, 0)
        images = (self.probe * len(self.settings) + rest * self.keep) * len(self.data.real.class_names or ())
        return f"{images:,} images and {len(self.cells):,} students take about {time_words(self.seconds())} here"


@dataclass(frozen=True, eq=False)
class Students:
    """Everything that students read, in memory; an item is a cell of the design."""

    cells: Sequence[Cell]
    plan: StudentPlan
    real: Labelled
    made: dict[str, Labelled]
    orders: dict[str | None, ImageSet]
    tests: dict[str, Labelled]
    seed: int
    unbalanced: bool
    scorer: Classifier

    def measure(self, of: str, items: range, put: Put, progress: Progress) -> Shard:
        """Train and measure the students of some cells; see :class:`~snellen.runs.measuring.Work`."""
        rows = []
        for item in items:
            cell = self.cells[item]
            found = self.student(cell)
            rows.append({"cell": item, "tests": {name: _kept(one) for name, one in found.items()}})
            progress.advance(TASK, 1)
        return Shard(extra={"students": rows})

    def student(self, cell: Cell) -> dict[str, StudentResult]:
        """One student on every test set."""
        names = self.orders[None].class_names or ()
        network = train_student(self.examples(cell), self.plan, len(names), cell.seed)
        check_independent(self.scorer, as_classifier(network, self.plan, names, "student"))
        return on_all_tests(network, self.tests)

    def examples(self, cell: Cell) -> Labelled:
        """What a student trains on: nested real and synthetic images."""
        real = part(self.real, self._ids(None, cell.real)) if cell.real else None
        made = part(self.made[cell.setting], self._ids(cell.setting, cell.made)) if cell.setting and cell.made else None
        return mixed(real, made, self.plan.real_share)

    def _ids(self, setting: str | None, count: int) -> list[str]:
        # Real images come in an order of their ids, generated ones in that of the manifest.
        seed = self.seed if setting is None else None
        return first_of_each(self.orders[setting], count, seed=seed, allow_fewer=self.unbalanced).ids


def _kept(one: StudentResult) -> dict[str, Any]:
    """What a shard holds of a student on one test set."""
    return {"losses": one.losses.tolist(), "right": one.right.tolist(), "targets": one.targets.tolist()}


def plan_synthesis(
    method: Methods,
    images: ImageSet,
    *,
    out: Path | str,
    validation: ImageSet | None = None,
    shifted: Sequence[ImageSet] = (),
    scorer: Classifier | None = None,
    students: StudentPlan | None = None,
    probe: int = 20,
    keep: int = 1,
    count: int = 100,
    seeds: int = 5,
    unbalanced: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    **running: Unpack[Running],
) -> SynthesisPlan:
    """Say whether generated images help a classifier of these classes, which settings, and how many.

    Generated images lie beside ``out``, in ``OUT-probe`` and ``OUT-images``, each a data set by itself. Call it again
    with the same arguments to resume.

    Args:
        method: settings of the generator, of the area ``synthesis``: the grid.
        images: labelled real images. Of several splits, ``train`` is trained on and ``val`` measures losses; test
            images are not touched.
        out: a new or empty folder, or one in which the same call was interrupted.
        validation: images that measure losses; None: the split ``val``, or a fifth of each class.
        shifted: test sets of another distribution, on which the same students are measured.
        scorer: classifier of real images that judges generated ones; None trains one on ``images``.
        students: the recipe of all students.
        probe: images of each class, for each setting, that are scored first.
        keep: settings that are kept for students, the most promising first.
        count: synthetic images of each class at the largest size.
        seeds: students of each point.
        unbalanced: allow classes with fewer images than a size.
        seed: of everything random.
        progress: callback that receives progress updates.
        running: see :class:`~snellen.runs.runner.Running`; neither a budget nor a part.

    Raises:
        InputError: too few images for three sizes, generated images among the real ones, other classes, or a setting
            that cannot be used.
        UnwritableError, RunConflictError: see :func:`snellen.synthesize`.
    """
    folder, listener, recipe = Path(out), progress or Silent(), students or StudentPlan()
    settings = named_settings(method, "synthesis")
    check_free(folder, RECORD, WHAT)
    if keep < 1 or probe < 2:
        raise InputError(f"at least 1 setting is kept, and 2 images of each class are scored; got {keep} and {probe}")
    if running.get("budget") is not None or running.get("part") is not None:
        raise InputError(
            "a synthesis plan takes neither a budget nor a part: its size is decided by --count, --seeds and --amount"
        )
    names = [one.name for one in shifted]
    if len({IN_DISTRIBUTION, *names}) <= len(names):
        raise InputError(f"shifted test sets need different names; got {', '.join(names)}")
    data = Data.of(images, validation, dict(zip(names, shifted, strict=True)), seed)
    most = largest_balanced(data.real, unbalanced=unbalanced)
    kept = [setting.name for setting in settings][:keep]  # as many names; which ones follows from their scores
    cells = cells_of(kept, most, count, seeds)
    forecast = Forecast(settings, data, recipe, probe, keep, count, cells, seed)
    listener.begin(WHAT, 1)
    if progress is not None and not folder.exists() and not rehearsing():
        listener.advance(WHAT, 0, forecast.words())  # shown as long as the plan runs

    @cache
    def prepared() -> _Prepared:
        return _prepare(settings, data, folder, recipe, scorer, probe, keep, count, seed, listener)

    def work(_: Run) -> Students:
        ready = prepared()
        return Students(
            cells=cells_of(list(ready.sets), most, count, seeds),
            plan=recipe,
            real=store_of(data.real, recipe),
            made={name: store_of(one, recipe) for name, one in ready.sets.items()},
            orders=dict([(None, data.real), *ready.sets.items()]),
            tests=ready.tests,
            seed=seed,
            unbalanced=unbalanced,
            scorer=ready.scorer,
        )

    def plan() -> dict[str, Any]:
        ready = prepared()
        return {
            "kind": "synthesis plan",
            "data": describe_data(data.real, listener),
            "tests": {name: describe_data(one, listener) for name, one in data.tests.items()},
            "settings": [{"setting": setting.name, **setting.record} for setting in settings],
            "models": {name: one.fingerprint(listener) for name, one in ready.sets.items()},
            "grid": [row.model_dump(mode="json") for row in ready.grid],
            "scorer": [ready.scorer.name, ready.scorer.fingerprint(), ready.accuracy],
            "students": recipe.model_dump(mode="json"),
            "real": most,
            "count": count,
            "seeds": seeds,
            "unbalanced": unbalanced,
            "seed": seed,
            **describe_machine(None),
        }

    def call(_: int) -> Call[SynthesisPlan]:
        return Call(
            what=WHAT,
            result=SynthesisPlan,
            plan=plan,
            work=work,
            shards=[range(row, row + 1) for row in range(len(cells))],
            task=TASK,
            conclude=lambda run, where: concluded(
                run, cells_of(list(prepared().sets), most, count, seeds), data.real.class_names or (), where
            ),
            images=None,
            seen=lambda _: range(0),
            fits=True,
            forecast=forecast.seconds,
            rejected=lambda _: (),
            name=data.real.name,
        )

    with carried_out(call, len(cells), folder, listener, running) as carried:
        carried.measure()
    listener.finish(WHAT)
    return carried.result


@dataclass(frozen=True, eq=False)
class _Prepared:
    """What there is before the first student: scored settings and generated images."""

    grid: tuple[GridRow, ...]
    sets: dict[str, ImageSet]
    tests: dict[str, Labelled]
    scorer: Classifier
    accuracy: float


def _prepare(
    settings: Sequence[Setting],
    data: Data,
    folder: Path,
    recipe: StudentPlan,
    scorer: Classifier | None,
    probe: int,
    keep: int,
    count: int,
    seed: int,
    progress: Progress,
) -> _Prepared:
    """Score a few images of every setting, keep the best, and generate their nested sets."""
    names = data.real.class_names or ()
    tests = {name: store_of(one, recipe) for name, one in data.tests.items()}
    source = Source.of_images(data.real)
    judge = scorer
    if judge is None:
        network = train_student(store_of(data.real, recipe), recipe, len(names), seed, "scorer")
        judge = as_classifier(network, recipe, names, "scorer of the real images")
        accuracy = float(measured(network, tests[IN_DISTRIBUTION]).right.mean())
    else:
        accuracy = set_quality(data.tests[IN_DISTRIBUTION], judge).recognisability
    tried = synthesize_into(
        settings, source, folder.with_name(f"{folder.name}-probe"), count=probe, seed=seed, progress=progress
    )
    of_real = set_quality(data.real, judge)
    scored: dict[str, SetQuality] = {
        name: set_quality(with_classes_of(load_manifest(path), data.real), judge)
        for name, path in tried.manifests.items()
    }
    ranked = sorted(scored, key=lambda name: (-promise(scored[name], of_real), name))
    grid = tuple(
        GridRow(setting=name, quality=scored[name], promise=promise(scored[name], of_real), kept=name in ranked[:keep])
        for name in ranked
    )
    chosen = [setting for setting in settings if setting.name in ranked[:keep]]
    made = synthesize_into(
        chosen,
        source,
        folder.with_name(f"{folder.name}-images"),
        count=count,
        seed=seed,
        earlier=tried.folder,
        progress=progress,
    )
    sets = {name: with_classes_of(load_manifest(path), data.real) for name, path in made.manifests.items()}
    return _Prepared(grid, sets, tests, judge, accuracy)
