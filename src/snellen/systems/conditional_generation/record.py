"""The record of a study: what ``robustness-study.json`` holds, and the sentences that it comes down to."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from snellen.metrics.effective_robustness import MEAN
from snellen.runs.record import RunResult, Summary, Table

RECORD = "robustness-study.json"

#: How messages call it.
WHAT = "robustness study"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AccuracyRow(_Part):
    """One kind of student, or a given model, on one test set; ``change`` is against students of real images.

    Attributes:
        arm: kind of student, or name of a given model.
        test: test set.
        students: how many were trained.
        accuracy: mean over them.
        change: against students of real images, with the ends of its 95 % interval; null for those themselves.
    """

    arm: str
    test: str
    students: int
    accuracy: float
    change: tuple[float, float, float] | None = None


class RobustnessRow(_Part):
    """Robustness of one kind under one shift, or the mean over all; intervals are of 95 %.

    Attributes:
        arm: kind of student.
        shift: by name.
        accuracy: under it.
        rho: effective robustness, low and high end; None without a line of standard models.
        tau: accuracy under shift less that of students of real images, low and high end.
        extrapolated: accuracy in distribution lies outside of the standard models.
    """

    arm: str
    shift: str
    accuracy: float
    rho: tuple[float, float, float] | None
    tau: tuple[float, float, float] | None
    extrapolated: bool


class LineRow(_Part):
    """The line of standard models under one shift, on logit scale; ``why_not`` where there is none.

    Attributes:
        shift: by name.
        slope: of the line on logit scale.
        intercept: of it.
        low: least accuracy in distribution that it was fitted to.
        high: highest accuracy in distribution.
        models: that it was fitted to.
        why_not: why there is no line; null where there is one.
    """

    shift: str
    slope: float | None = None
    intercept: float | None = None
    low: float | None = None
    high: float | None = None
    models: int | None = None
    why_not: str | None = None


class DropRow(_Part):
    """What a kind of student loses on generated validation images: accuracy in distribution less that on these.

    Attributes:
        arm: kind of student.
        setting: of the generated images.
        drop: accuracy in distribution less that on these.
        low: lower end of the 95 % interval.
        high: upper end.
    """

    arm: str
    setting: str
    drop: float
    low: float
    high: float


class RobustnessStudy(RunResult):
    """Real, generated and mixed training images: in distribution, under shift, and on generated images.

    Attributes:
        accuracies: every kind of student on every test set.
        lines: of standard models, one for each shift.
        robustness: effective and relative, for every kind and shift.
        drops: on generated validation images.
        advice: what follows.
    """

    file: ClassVar[str] = RECORD

    accuracies: tuple[AccuracyRow, ...] = ()
    lines: tuple[LineRow, ...] = ()
    robustness: tuple[RobustnessRow, ...] = ()
    drops: tuple[DropRow, ...] = ()
    advice: tuple[str, ...] = ()

    def summary(self) -> Summary:
        """Accuracies, the mean of robustness, the drops, and the advice."""
        tests = tuple(dict.fromkeys(row.test for row in self.accuracies))
        by_arm = {(row.arm, row.test): row for row in self.accuracies}
        arms = tuple(dict.fromkeys(row.arm for row in self.accuracies))
        accuracies = tuple(
            (arm, str(by_arm[arm, tests[0]].students), *(f"{by_arm[arm, test].accuracy:.3f}" for test in tests))
            for arm in arms
        )
        robust = tuple(
            (row.arm, *_cells(row.rho), *_cells(row.tau), "yes" if row.extrapolated else "")
            for row in self.robustness if row.shift == MEAN
        )  # fmt: skip
        drops = tuple(
            (row.arm, row.setting, f"{row.drop:+.3f}", f"{row.low:+.3f} – {row.high:+.3f}") for row in self.drops
        )
        return Summary(
            self.plan["data"]["name"],
            (
                Table(("trained on", "students", *tests), accuracies, frozenset(range(1, 2 + len(tests)))),
                Table(
                    ("trained on", "ρ, mean of shifts", "95 % interval", "τ", "95 % interval", "extrapolated"),
                    robust,
                    frozenset({1, 3}),
                ),
                Table(("trained on", "generated images", "drop", "95 % interval"), drops, frozenset({2})),
                *(f"no effective robustness under {row.shift}: {row.why_not}" for row in self.lines if row.why_not),
                *self.advice,
            ),
            files=self.files,
            record=RECORD,
        )

    def _verdict(self) -> str:
        return " ".join(self.advice)


def _cells(found: tuple[float, float, float] | None) -> tuple[str, str]:
    """A value and its interval; dashes without one."""
    return ("–", "–") if found is None else (f"{found[0]:+.3f}", f"{found[1]:+.3f} – {found[2]:+.3f}")


def advice(
    settings: tuple[str, ...], robustness: tuple[RobustnessRow, ...], accuracies: tuple[AccuracyRow, ...], matched: str
) -> list[str]:
    """What follows for each setting at equal updates, for a reader who reads nothing else.

    Args:
        settings: of the generator.
        robustness, accuracies: all rows; the first test set is like the training images.
        matched: what stands behind a setting in the name of its mixture at equal updates.
    """
    found, first = [], accuracies[0].test
    for setting in settings:
        arm = f"{setting}{matched}"
        row = next(one for one in robustness if one.arm == arm and one.shift == MEAN)
        own = next(one for one in accuracies if one.arm == arm and one.test == first)
        if row.tau is None or own.change is None:
            continue
        points, low, high = (f"{100 * value:+.1f}" for value in row.tau)
        gain = f"{points} points ({low} to {high})"
        own_change, own_low, own_high = (f"{100 * value:+.1f}" for value in own.change)
        if row.tau[1] > 0:
            verdict = f"add the generated images. At equal updates accuracy under shift changes by {gain}"
        elif row.tau[2] < 0:
            verdict = f"leave the generated images out. At equal updates accuracy under shift changes by {gain}"
        else:
            verdict = f"no gain under shift was measured at equal updates: {gain}"
        verdict += f"; in distribution by {own_change} ({own_low} to {own_high})."
        if row.tau[1] > 0 and own.change[2] < 0:
            verdict += " That is a trade: weigh what your images will be like."
        found.append(f"{setting}: {verdict}")
    return found
