"""Classes by how synthetic images of them scale: easy, scaling or poor; and the control by an oracle generator.

*Poor* classes are concepts that the generator cannot draw: their loss stays high however many images there are. If
images of these classes alone come from an oracle and their loss then falls, the generator was the cause, and not the
class. The rule is ours: *easy* if the loss at the smallest size is among the lowest quarter of all classes there;
*poor* if not easy, and the interval of the exponent holds 0, or the loss at the largest size is among the highest
quarter of what real images of that size give and significantly above what they give for this class; else *scaling*.
Without the last condition a quarter of the classes would be poor even where synthetic images equal real ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.data.files.joining import join
from snellen.metrics.intervals import Interval, mean_interval
from snellen.systems.scaling_laws.power_law import RESAMPLES, fit_power_law
from snellen.systems.scaling_laws.scaling_run import ScalingRun

Group = Literal["easy", "scaling", "poor"]


@dataclass(frozen=True)
class ClassCurve:
    """How the loss of one class falls.

    Attributes:
        group: easy, scaling or poor.
        k: exponent of the class.
        k_interval: 95 %.
        first, last: mean loss at the smallest and the largest size.
        real: mean loss with as many real images as the largest size; None where none was measured.
    """

    group: Group
    k: float
    k_interval: Interval
    first: float
    last: float
    real: float | None


def class_groups(
    synthetic: Sequence[ScalingRun],
    real: Sequence[ScalingRun],
    class_names: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    rng: np.random.Generator,
) -> dict[str, ClassCurve]:
    """Fit a law to each class, and group the classes.

    Args:
        synthetic: runs of one configuration, with losses of each class.
        real: runs on real images; those of the largest common size are compared.
        class_names: in the order of ``class_losses``.
        resamples: of each bootstrap.
        rng: where they come from.

    Raises:
        InputError: a class without test images, or no common size.
    """
    sizes = sorted({run.size for run in synthetic})
    common = [size for size in sizes if any(run.size == size for run in real)]
    if not common:
        raise InputError("classes are compared at equal size, and synthetic and real sets have no size in common")
    lowest, highest = sizes[0], common[-1]
    first = _means(synthetic, lowest, len(class_names))
    last = _means(synthetic, highest, len(class_names))
    by_real = _means(real, highest, len(class_names))
    easy_below, poor_from = np.quantile(first, 0.25), np.quantile(by_real, 0.75)
    found = {}
    for index, name in enumerate(class_names):
        # All sizes: that a class saturates early is what its group is about.
        law = fit_power_law(synthetic, size_range=(sizes[0], sizes[-1]), index=index, resamples=resamples, rng=rng)
        flat = law.k_interval.low <= 0 <= law.k_interval.high or law.k_interval.high < 0
        group: Group = "easy" if first[index] <= easy_below else "scaling"
        high = last[index] >= poor_from and _above(synthetic, real, highest, index)
        if group != "easy" and (flat or high):
            group = "poor"
        found[name] = ClassCurve(
            group, law.k, law.k_interval, float(first[index]), float(last[index]), float(by_real[index])
        )
    return found


def with_oracle(synthetic: ImageSet, oracle: ImageSet, classes: Sequence[str]) -> ImageSet:
    """The synthetic set with the images of some classes replaced by as many of an oracle: the control of poor classes.

    Raises:
        InputError: no such class, other classes, or fewer images of a class in the oracle.
    """
    names = synthetic.class_names or ()
    if oracle.class_names != synthetic.class_names:
        raise InputError(f"{oracle.name} has other classes than {synthetic.name}")
    unknown = [name for name in classes if name not in names]
    if unknown:
        raise InputError(f"{synthetic.name} has no class {unknown[0]!r}")
    replaced = {names.index(name) for name in classes}
    labels, others = synthetic.labels, oracle.labels
    kept = [row for row, label in enumerate(labels.tolist()) if label not in replaced]
    taken: list[int] = []
    for label in sorted(replaced):
        wanted, rows = int((labels == label).sum()), np.flatnonzero(others == label).tolist()
        if len(rows) < wanted:
            raise InputError(f"{oracle.name} has {len(rows)} images of class {names[label]!r}; {wanted} are replaced")
        taken += rows[:wanted]
    return join([synthetic.select(kept), oracle.select(taken)], name=f"{synthetic.name} with an oracle")


def groups(curves: Mapping[str, ClassCurve]) -> dict[str, list[str]]:
    """Names of the classes of each group."""
    return {
        group: [name for name, one in curves.items() if one.group == group] for group in ("easy", "scaling", "poor")
    }


def _above(synthetic: Sequence[ScalingRun], real: Sequence[ScalingRun], size: int, index: int) -> bool:
    """Whether the loss of a class lies above that by real images of this size, at 97.5 % over seeds."""
    made, own = (
        [run.class_losses[index] for run in sorted(runs, key=lambda run: run.seed) if run.size == size]
        for runs in (synthetic, real)
    )
    differences = [float(one or 0.0) - float(other or 0.0) for one, other in zip(made, own, strict=False)]
    return len(differences) > 1 and mean_interval(differences)[0] > 0


def _means(runs: Sequence[ScalingRun], size: int, classes: int) -> np.ndarray:
    """Mean loss of each class at a size, over seeds."""
    rows = [run.class_losses for run in runs if run.size == size]
    if any(len(row) != classes or any(loss is None for loss in row) for row in rows):
        raise InputError("a class has no test images, so its loss cannot be compared; test on images of all classes")
    return np.array(rows, dtype=np.float64).mean(axis=0)
