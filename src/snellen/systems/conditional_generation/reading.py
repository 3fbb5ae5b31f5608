"""What follows from all students: accuracies, lines of standard models, robustness, drops on generated images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from snellen.core.errors import InputError
from snellen.core.randomness import derive_seed
from snellen.core.run import Run
from snellen.metrics.effective_robustness import (
    MEAN,
    Baseline,
    Decisions,
    accuracy_difference,
    effective_robustness,
    fit_baseline,
)
from snellen.runs.curve_picture import Curve, curve_picture
from snellen.runs.safe_names import file_names
from snellen.runs.whole_file import whole_file
from snellen.systems.conditional_generation.arms import LONGER, MATCHED, POOL, REAL, Arm
from snellen.systems.conditional_generation.record import (
    AccuracyRow,
    DropRow,
    LineRow,
    RobustnessRow,
    RobustnessStudy,
    advice,
)

#: Name of the images that are like the training images.
IN_DISTRIBUTION = "in distribution"

#: What stands before the name of a model that was given.
GIVEN = "model "

#: Points of a line in a picture.
_POINTS = 20


def generated_name(setting: str) -> str:
    """How the generated validation images of a setting are called among the test sets.

    >>> generated_name("by_name")
    'generated: by_name'
    """
    return f"generated: {setting}"


def concluded(run: Run, arms: Sequence[Arm], models: Sequence[str], folder: Path) -> RobustnessStudy:
    """Read the students of all shards, and make the record and the pictures."""
    names = [*(arm.name for arm in arms), *(f"{GIVEN}{name}" for name in models)]
    students = [row for shard in range(len(names)) for row in run.shard_extra(shard)["students"]]
    found: dict[str, list[Decisions]] = {name: [] for name in names}
    for row in students:
        found[names[row["item"]]].append({test: np.array(right, dtype=bool) for test, right in row["right"].items()})
    settings = tuple(dict.fromkeys(arm.setting for arm in arms if arm.setting is not None))
    reading = Reading(found, settings, run.plan["seed"])
    accuracies, robustness = reading.accuracies(), reading.robustness()
    shifts = reading.shifts
    files = []
    for shift, name in zip(shifts, file_names(shifts, ".png"), strict=True):
        with whole_file(folder / f"robustness-{name}") as stream:
            reading.picture(shift).save(stream, "PNG")
        files.append(f"robustness-{name}")
    return RobustnessStudy(
        plan=dict(run.plan),
        accuracies=accuracies,
        lines=tuple(reading.line_row(shift) for shift in shifts),
        robustness=robustness,
        drops=reading.drops(),
        advice=tuple(advice(settings, robustness, accuracies, MATCHED)),
        files=tuple(files),
        folder=folder,
    )


class Reading:
    """Decisions of all students, by kind.

    Args:
        kinds: for each kind its students, in the order of their seeds.
        settings: of the generator.
        seed: of the bootstraps.
    """

    def __init__(self, kinds: Mapping[str, Sequence[Decisions]], settings: Sequence[str], seed: int) -> None:
        self.kinds, self.seed = kinds, seed
        self.generated = {generated_name(setting): setting for setting in settings}
        self.shifts = tuple(one for one in kinds[REAL][0] if one != IN_DISTRIBUTION and one not in self.generated)
        self.tests = (IN_DISTRIBUTION, *self.shifts, *self.generated)

    def rng(self, *names: str) -> np.random.Generator:
        """A generator of one bootstrap, which no other one disturbs."""
        return np.random.default_rng(derive_seed(self.seed, "conditional generation", *names))

    def shown(self) -> list[str]:
        """Kinds that are compared; standard models are what they are compared with."""
        return [name for name in self.kinds if name != POOL]

    def accuracies(self) -> tuple[AccuracyRow, ...]:
        """Mean accuracy of each kind, and its change against students of real images where there are as many."""
        rows = []
        for name in self.shown():
            for test in self.tests:
                own, base = _stacked(self.kinds[name], test), _stacked(self.kinds[REAL], test)
                change = None
                if name != REAL and own.shape == base.shape:
                    value, interval = accuracy_difference(own, base, paired=True, rng=self.rng("change", name, test))
                    change = (value, *interval)
                rows.append(
                    AccuracyRow(arm=name, test=test, students=len(own), accuracy=float(own.mean()), change=change)
                )
        return tuple(rows)

    def line(self, shift: str) -> Baseline:
        """The line of standard models under one shift."""
        pool = self.kinds[POOL]
        own, others = ([float(one[test].mean()) for one in pool] for test in (IN_DISTRIBUTION, shift))
        return fit_baseline(own, others, images=(len(pool[0][IN_DISTRIBUTION]), len(pool[0][shift])))

    def line_row(self, shift: str) -> LineRow:
        """The same for the record, or why there is none."""
        try:
            return LineRow(shift=shift, **vars(self.line(shift)))
        except InputError as error:
            return LineRow(shift=shift, why_not=str(error))

    def robustness(self) -> tuple[RobustnessRow, ...]:
        """Effective and relative robustness of each kind; without a line, the relative one alone."""
        if any(self.line_row(shift).why_not for shift in self.shifts):
            return self._relative()
        rows = []
        for name in self.shown():
            found = effective_robustness(
                [self._real_tests(one) for one in self.kinds[name]],
                [self._real_tests(one) for one in self.kinds[POOL]],
                in_distribution=IN_DISTRIBUTION,
                base=[] if name == REAL else [self._real_tests(one) for one in self.kinds[REAL]],
                rng=self.rng("robustness", name),
            )
            rows += [
                RobustnessRow(
                    arm=name,
                    shift=shift,
                    accuracy=one.accuracy,
                    rho=(one.rho, *one.rho_interval),
                    tau=None if one.tau is None or one.tau_interval is None else (one.tau, *one.tau_interval),
                    extrapolated=one.extrapolated,
                )
                for shift, one in found.items()
            ]
        return tuple(rows)

    def _relative(self) -> tuple[RobustnessRow, ...]:
        """Differences from students of real images under each shift, and over the images of all shifts."""
        rows = []
        for name in self.shown():
            for shift, tests in (*((one, [one]) for one in self.shifts), (MEAN, self.shifts)):
                own, base = (
                    np.concatenate([_stacked(self.kinds[kind], test) for test in tests], 1) for kind in (name, REAL)
                )
                tau = None
                if name != REAL and own.shape == base.shape:
                    rng = self.rng("relative", name, shift)
                    value, interval = accuracy_difference(own, base, paired=True, rng=rng)
                    tau = (value, *interval)
                rows.append(
                    RobustnessRow(
                        arm=name, shift=shift, accuracy=float(own.mean()), rho=None, tau=tau, extrapolated=False
                    )
                )
        return tuple(rows)

    def drops(self) -> tuple[DropRow, ...]:
        """What models of real images lose on generated validation images, and models that were given."""
        rows = []
        for name in self.shown():
            if name in (REAL, LONGER) or name.startswith(GIVEN):
                for test, setting in self.generated.items():
                    own, made = (_stacked(self.kinds[name], one) for one in (IN_DISTRIBUTION, test))
                    value, interval = accuracy_difference(own, made, paired=False, rng=self.rng("drop", name, test))
                    rows.append(DropRow(arm=name, setting=setting, drop=value, low=interval.low, high=interval.high))
        return tuple(rows)

    def picture(self, shift: str) -> Image.Image:
        """Odds under shift against odds in distribution: the line of the standard models, and all kinds of students."""
        ends: list[tuple[float, float]] = []
        if self.line_row(shift).why_not is None:
            line = self.line(shift)
            along = np.linspace(max(line.low, 1e-3), min(line.high, 1 - 1e-3), _POINTS).tolist()
            ends = [(_odds(one), _odds(line.expected(one))) for one in along]
        pool = [self._odds(one, shift) for one in self.kinds[POOL]]
        curves = [Curve("standard models and their line", points=pool, line=ends)]
        curves += [Curve(name, points=[self._odds(one, shift) for one in self.kinds[name]]) for name in self.shown()]
        return curve_picture(
            curves, "odds of a right decision in distribution (right : wrong)", f"the same under shift: {shift}"
        )

    def _odds(self, one: Decisions, shift: str) -> tuple[float, float]:
        shares = [
            np.clip(one[test].mean(), 0.5 / len(one[test]), 1 - 0.5 / len(one[test]))
            for test in (IN_DISTRIBUTION, shift)
        ]
        return _odds(float(shares[0])), _odds(float(shares[1]))

    def _real_tests(self, one: Decisions) -> Decisions:
        return {test: right for test, right in one.items() if test not in self.generated}


def _odds(share: float) -> float:
    return share / (1 - share)


def _stacked(students: Sequence[Decisions], test: str) -> NDArray[np.bool_]:
    """Decisions of all students of a kind, bool (students, images)."""
    return np.stack([one[test] for one in students])
