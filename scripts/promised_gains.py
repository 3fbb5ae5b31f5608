"""What a plan of generated images promised, beside what other students show on images that the plan has not read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from snellen.metrics.loss_gain import gain
from snellen.training.parts import Labelled
from snellen.training.students import StudentPlan, StudentResult, on_all_tests, train_student

#: Students of one training set, by test set.
Measured = Mapping[str, list[StudentResult]]


def students_of(
    store: Labelled, plan: StudentPlan, classes: int, seeds: Iterable[int], tests: Mapping[str, Labelled]
) -> Measured:
    """One student for each seed, on every test set."""
    found: dict[str, list[StudentResult]] = {name: [] for name in tests}
    for seed in seeds:
        for name, one in on_all_tests(train_student(store, plan, classes, seed), tests).items():
            found[name].append(one)
    return found


def apart(promised: Sequence[float], measured: Sequence[float]) -> bool:
    """Whether two changes differ by more than their errors allow: each is (change, low, high), of other images."""
    widths = [(high - low) / 2 for _, low, high in (promised, measured)]
    return abs(promised[0] - measured[0]) > float(np.hypot(*widths))


def shown(
    arm: Sequence[StudentResult], baseline: Sequence[StudentResult] | None = None, comparisons: int = 1
) -> dict[str, Any]:
    """Mean accuracy and loss of students, and what separates them from others on the same images and seeds."""
    found: dict[str, Any] = {
        "accuracy": float(np.mean([one.right for one in arm])),
        "loss": float(np.mean([one.losses for one in arm])),
    }
    if baseline is not None:
        pairs = {
            "accuracy_change": (
                [one.right.astype(float) for one in arm],
                [one.right.astype(float) for one in baseline],
            ),
            "loss_change": ([one.losses for one in arm], [one.losses for one in baseline]),
        }
        for name, (ours, theirs) in pairs.items():
            change = gain(np.stack(ours), np.stack(theirs), comparisons=comparisons, rng=np.random.default_rng(0))
            found[name] = [change.change, change.interval.low, change.interval.high]
    return found


def compared(
    gains: Sequence[Mapping[str, Any]], classes: int, students: Callable[[int, int], Sequence[StudentResult]]
) -> list[dict[str, Any]]:
    """Each change of the loss that a plan promised, beside the measured one.

    Args:
        gains: rows of the plan's record, of one setting and one test set.
        classes: number of classes; the rows count images of all of them.
        students: of so many real and so many generated images of each class, on the images of the proof.
    """
    rows = []
    for row in gains:
        real, made = row["real"] // classes, row["synthetic"] // classes
        of_curve = sum((one["config"], one["test"]) == (row["config"], row["test"]) for one in gains)
        change = shown(students(real, made), students(real, 0), of_curve)["loss_change"]
        promised = [row["change"], row["low"], row["high"]]
        rows.append(
            {
                **{name: row[name] for name in ("config", "test", "real", "synthetic", "verdict")},
                "promised": promised,
                "measured": change,
                "within": promised[1] <= change[0] <= promised[2],
                "apart": apart(promised, change),
            }
        )
    return rows
