"""What follows from all students: laws, their differences, equal sizes, groups of classes, and gains with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from snellen.core.errors import InputError
from snellen.core.randomness import derive_seed
from snellen.core.run import Run
from snellen.metrics.loss_gain import gain
from snellen.runs.curve_picture import Curve, curve_picture
from snellen.runs.whole_file import whole_file
from snellen.systems.scaling_laws.class_groups import class_groups
from snellen.systems.scaling_laws.design import REAL, WITH_ALL, WITH_HALF, Cell
from snellen.systems.scaling_laws.equivalence import crossover, effective_size
from snellen.systems.scaling_laws.power_law import PowerLaw, exponent_difference, fit_power_law
from snellen.systems.scaling_laws.scaling_run import IN_DISTRIBUTION, ScalingRun
from snellen.systems.scaling_laws.synthesis_plan import (
    CURVE,
    ClassRow,
    Equal,
    GainRow,
    GridRow,
    Law,
    SynthesisPlan,
    advice,
)
from snellen.training.students import StudentResult


def concluded(run: Run, cells: Sequence[Cell], class_names: Sequence[str], folder: Path) -> SynthesisPlan:
    """Read the students of all shards, and make the record and the picture."""
    students = [row for shard in range(len(cells)) for row in run.shard_extra(shard)["students"]]
    found = {cells[row["cell"]]: {name: _measured(one) for name, one in row["tests"].items()} for row in students}
    plan = dict(run.plan)
    grid = tuple(GridRow.model_validate(row) for row in plan.pop("grid"))
    reading = Reading(found, tuple(class_names), plan["seed"])
    settings = tuple(dict.fromkeys(cell.setting for cell in cells if cell.setting is not None))
    classes, gains = reading.classes(settings), reading.gains(settings)
    with whole_file(folder / CURVE) as stream:
        reading.picture().save(stream, "PNG")
    return SynthesisPlan(
        plan=plan,
        grid=grid,
        scorer=(plan["scorer"][0], plan["scorer"][2]),
        laws=reading.laws(),
        equivalents=reading.equivalents(settings),
        classes=classes,
        gains=gains,
        runs=tuple(reading.runs()),
        advice=tuple(advice(gains, classes, settings, IN_DISTRIBUTION)),
        files=(CURVE,),
        folder=folder,
    )


def _measured(row: dict[str, Any]) -> StudentResult:
    return StudentResult(
        np.array(row["losses"], dtype=np.float64),
        np.array(row["right"], dtype=bool),
        np.array(row["targets"], dtype=np.int64),
    )


class Reading:
    """All students of a plan.

    Args:
        students: figures on each test set, by cell.
        class_names: in the order of the labels.
        seed: of the bootstraps.
    """

    def __init__(self, students: dict[Cell, dict[str, StudentResult]], class_names: tuple[str, ...], seed: int) -> None:
        self.students, self.class_names, self.seed = students, class_names, seed
        self.tests = tuple(dict.fromkeys(name for found in students.values() for name in found))

    def rng(self, *names: str) -> np.random.Generator:
        """A generator of one bootstrap, which no other one disturbs."""
        return np.random.default_rng(derive_seed(self.seed, "scaling laws", *names))

    def runs(self) -> list[ScalingRun]:
        """Every student on every test set; the size of a mixture is that of its synthetic part."""
        count = len(self.class_names)
        return [
            ScalingRun.of(one, cell.config, (cell.made or cell.real) * count, cell.seed, count, test)
            for cell, found in self.students.items()
            for test, one in found.items()
        ]

    def of(self, config: str, test: str = IN_DISTRIBUTION) -> list[ScalingRun]:
        """The runs of one curve."""
        return [run for run in self.runs() if run.config == config and run.test == test]

    def curves(self) -> list[str]:
        """Curves that a law is fitted to: real images, and each setting alone."""
        return list(dict.fromkeys(cell.config for cell in self.students if not (cell.real and cell.made)))

    def fitted(self, test: str = IN_DISTRIBUTION) -> dict[str, PowerLaw]:
        """The laws of all curves on one test set, where there is one."""
        return {config: law for config in self.curves() if isinstance(law := self.fit(config, test), PowerLaw)}

    def fit(self, config: str, test: str) -> PowerLaw | str:
        """The law of one curve, or why there is none."""
        try:
            return fit_power_law(self.of(config, test), rng=self.rng("law", config, test))
        except InputError as error:
            return str(error)

    def picture(self) -> Image.Image:
        """Loss against the number of images: a dot for each student, the laws with their intervals."""
        laws, shown = self.fitted(), []
        for config in dict.fromkeys(cell.config for cell in self.students):
            law = laws.get(config)
            at = [] if law is None else np.geomspace(*law.range, 20).tolist()
            shown.append(
                Curve(
                    config,
                    points=[(run.size, max(run.loss, 1e-12)) for run in self.of(config)],
                    line=[(size, law.loss(size)) for size in at] if law else [],
                    band=[(size, *law.loss_interval(size)) for size in at] if law else [],
                )
            )
        return curve_picture(
            shown, "images (of a mixture: generated ones)", "loss in nats, on images like the real ones"
        )

    def laws(self) -> tuple[Law, ...]:
        """A law for each curve on each test set, with the difference of its exponent from that of real images."""
        rows = []
        for test in self.tests:
            for config in self.curves():
                law = self.fit(config, test)
                if isinstance(law, str):
                    rows.append(Law(config=config, test=test, why_not=law))
                    continue
                rows.append(
                    Law(
                        config=config,
                        test=test,
                        a=law.a,
                        k=law.k,
                        low=law.k_interval.low,
                        high=law.k_interval.high,
                        r_squared=law.r_squared,
                        used=law.used,
                        dropped=law.dropped,
                        still_curved=law.still_curved,
                        k_less_real=None if config == REAL else self._difference(config, test),
                    )
                )
        return tuple(rows)

    def _difference(self, config: str, test: str) -> tuple[float, float, float] | None:
        try:
            value, interval = exponent_difference(
                self.of(config, test), self.of(REAL, test), rng=self.rng("difference", config, test)
            )
        except InputError:
            return None  # fewer than three common sizes
        return value, interval.low, interval.high

    def equivalents(self, settings: Sequence[str]) -> tuple[Equal, ...]:
        """For each real size, how many synthetic images alone give its loss."""
        laws = self.fitted()
        sizes = sorted({run.size for run in self.of(REAL)})
        return tuple(
            Equal(config=setting, **vars(one))
            for setting in settings
            if setting in laws and REAL in laws
            for one in crossover(laws[setting], laws[REAL], sizes)
        )

    def classes(self, settings: Sequence[str]) -> tuple[ClassRow, ...]:
        """Groups of classes; none where a class has no test images, or no size is common."""
        rows = []
        for setting in settings:
            try:
                found = class_groups(
                    self.of(setting), self.of(REAL), self.class_names, rng=self.rng("classes", setting)
                )
            except InputError:
                continue
            rows += [
                ClassRow(
                    config=setting,
                    class_name=name,
                    group=one.group,
                    k=one.k,
                    low=one.k_interval.low,
                    high=one.k_interval.high,
                    last=one.last,
                    real=one.real,
                )
                for name, one in found.items()
            ]
        return tuple(rows)

    def gains(self, settings: Sequence[str]) -> tuple[GainRow, ...]:
        """What each number of synthetic images changes, added to half of the real ones and to all of them."""
        law, count = self.fitted().get(REAL), len(self.class_names)
        rows = []
        for test in self.tests:
            for config in (f"{setting}{mixture}" for setting in settings for mixture in (WITH_HALF, WITH_ALL)):
                points = sorted({(cell.real, cell.made) for cell in self.students if cell.config == config})
                for real, made in points:
                    without, added = self._losses(REAL, real, 0, test), self._losses(config, real, made, test)
                    found = gain(added, without, comparisons=len(points), rng=self.rng("gain", config, str(made), test))
                    worth = None
                    if law is not None and test == IN_DISTRIBUTION:
                        worth = effective_size(float(added.mean()), law, real * count, made * count)
                    rows.append(
                        GainRow(
                            config=config,
                            test=test,
                            real=real * count,
                            synthetic=made * count,
                            change=found.change,
                            low=found.interval.low,
                            high=found.interval.high,
                            verdict=found.verdict,
                            effective_size=None if worth is None else worth.size,
                            value=None if worth is None else worth.value,
                        )
                    )
        return tuple(rows)

    def _losses(self, config: str, real: int, made: int, test: str) -> NDArray[np.float64]:
        """Losses of one point, float64 (seeds, images), by seed."""
        cells = sorted(
            (cell for cell in self.students if (cell.config, cell.real, cell.made) == (config, real, made)),
            key=lambda cell: cell.seed,
        )
        return np.stack([self.students[cell][test].losses for cell in cells])
