"""F1 of a detector by data set, category and source, and the gap between sources; here what is found is unsafe content.

Qu et al. 2025, section 4: F1 = 2 TP / (2 TP + FP + FN) for each category that a classifier claims, for photographs and
for generated images apart. Intervals are bootstraps of whole units (:mod:`snellen.metrics.bootstrap`). Pooled values
count all images together, so that large data sets and categories weigh more; values of each data set stand beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.core.randomness import derive_seed
from snellen.metrics.bootstrap import cluster_bootstrap
from snellen.metrics.intervals import Interval
from snellen.metrics.units import unit_codes
from snellen.metrics.weighted import WeightedStatistic

#: The two sources, which are never mixed except where a row says "both".
REAL, GENERATED, BOTH = "real", "generated", "both"

#: Of a row over all categories, or over all data sets.
ALL = "all"


@dataclass(frozen=True, eq=False)
class Judgements:
    """What one classifier decided on n images with known answers.

    Attributes:
        ids: of the images.
        unsafe: bool (n,), the truth.
        decided: bool (n,), whether each was called unsafe.
        unclear: bool (n,), whether the answer was unclear and ``decided`` is a draw; such images are counted.
        categories: the category that each image belongs to. Safe images have one too; one without ("") stands among the
            safe images of every category.
        sources: ``real`` or ``generated``.
        datasets: the data set that each comes from.
        units: what was drawn independently; None: each image by itself.
        seed: of draws and resamples.
    """

    ids: tuple[str, ...]
    unsafe: NDArray[np.bool_]
    decided: NDArray[np.bool_]
    unclear: NDArray[np.bool_]
    categories: tuple[str, ...]
    sources: tuple[str, ...]
    datasets: tuple[str, ...]
    units: tuple[str, ...] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        columns = (self.unsafe, self.decided, self.unclear, self.categories, self.sources, self.datasets)
        if {len(one) for one in columns} != {len(self.ids)}:
            raise InputError(f"judgements need one value of each kind for each of {len(self.ids)} images")
        if odd := sorted(set(self.sources) - {REAL, GENERATED}):
            raise InputError(f"a source is {REAL!r} or {GENERATED!r}, got {odd[0]!r}")


@dataclass(frozen=True)
class Row:
    """One cell of the table.

    Attributes:
        dataset: or "all".
        category: or "all", which pools the categories that are claimed.
        source: ``real``, ``generated`` or ``both``.
        images: how many.
        unsafe: how many of them are unsafe.
        unclear: how many answers were unclear and had to be drawn.
        f1: None where the cell has no unsafe image: then there is nothing to find, and F1 shows nothing.
        interval: of F1, 95 %; None where too few units are there, or resamples do not differ: all right or all wrong.
    """

    dataset: str
    category: str
    source: str
    images: int
    unsafe: int
    unclear: int
    f1: float | None
    interval: Interval | None


@dataclass(frozen=True)
class Gap:
    """F1 on photographs less F1 on generated images, with its 95 % interval."""

    value: float | None
    interval: Interval | None


def f1_of(unsafe: NDArray[np.bool_], decided: NDArray[np.bool_]) -> WeightedStatistic:
    """F1 of the class unsafe as a function of weights (n,); NaN where nothing is unsafe.

    >>> f1_of(np.array([True, True, False]), np.array([True, False, False]))(np.ones(3))
    0.6666666666666666
    """
    hit, miss, alarm = unsafe & decided, unsafe & ~decided, ~unsafe & decided

    def f1(weights: NDArray[np.float64]) -> float:
        found, missed, false = (float(weights[one].sum()) for one in (hit, miss, alarm))
        return 2 * found / (2 * found + missed + false) if found + missed > 0 else float("nan")

    return f1


def f1_table(judged: Judgements, claims: Sequence[str], *, resamples: int = 1000) -> list[Row]:
    """Rows for every claimed category and all of them, every source and both, every data set and all of them.

    Categories that the classifier does not claim are left out everywhere, pooled rows included.

    Args:
        judged: the judgements.
        claims: categories that the classifier claims to know.
        resamples: of each bootstrap.
    """
    shown = list(dict.fromkeys(judged.datasets))
    datasets = [ALL, *(shown if len(shown) > 1 else [])]
    rows = []
    for dataset in datasets:
        for category in (ALL, *claims):
            for source in (BOTH, REAL, GENERATED):
                mask = _cell(judged, claims, dataset, category, source)
                if mask.any():
                    rows.append(_row(judged, mask, (dataset, category, source), resamples))
    return rows


def source_gap(judged: Judgements, claims: Sequence[str], *, category: str = ALL, resamples: int = 1000) -> Gap:
    """F1 on photographs less F1 on generated images; None where a source has no unsafe image."""
    masks = [_cell(judged, claims, ALL, category, source) for source in (REAL, GENERATED)]
    if not all((judged.unsafe & mask).any() for mask in masks):
        return Gap(None, None)
    kept = masks[0] | masks[1]
    parts = [(judged.unsafe & mask)[kept] for mask in masks], [(judged.decided & mask)[kept] for mask in masks]
    # An image of the other source is a true negative, which F1 does not see.
    real, generated = (f1_of(truth, decided) for truth, decided in zip(*parts, strict=True))
    value, interval = _estimated(lambda w: real(w) - generated(w), judged, kept, f"gap {category}", resamples)
    return Gap(value, interval)


def _cell(judged: Judgements, claims: Sequence[str], dataset: str, category: str, source: str) -> NDArray[np.bool_]:
    wanted = set(claims) if category == ALL else {category} & set(claims)
    return np.array(
        [
            (one in wanted or (not one and not bad)) and dataset in (ALL, of) and source in (BOTH, made)
            for one, bad, of, made in zip(
                judged.categories, judged.unsafe, judged.datasets, judged.sources, strict=True
            )
        ],
        dtype=np.bool_,
    )


def _row(judged: Judgements, mask: NDArray[np.bool_], names: tuple[str, str, str], resamples: int) -> Row:
    unsafe, decided = judged.unsafe[mask], judged.decided[mask]
    f1, interval = (None, None)
    if unsafe.any():
        f1, interval = _estimated(f1_of(unsafe, decided), judged, mask, " ".join(names), resamples)
    unclear = int(judged.unclear[mask].sum())
    return Row(*names, int(mask.sum()), int(unsafe.sum()), unclear, f1, interval)


def _estimated(
    statistic: WeightedStatistic, judged: Judgements, mask: NDArray[np.bool_], stream: str, resamples: int
) -> tuple[float, Interval | None]:
    units = judged.units or judged.ids
    codes = unit_codes([one for one, chosen in zip(units, mask, strict=True) if chosen])
    rng = np.random.default_rng(derive_seed(judged.seed, "f1", stream))
    value = statistic(np.ones(int(mask.sum())))
    try:
        sample = cluster_bootstrap(statistic, int(mask.sum()), codes, resamples=resamples, rng=rng)
    except InputError:  # too few units, or a figure that most resamples do not have
        return value, None
    # Ten images of ten missed say little about the next ones, and their resamples would say all.
    differ = sample.replicates[0] < sample.replicates[-1]
    return value, sample.percentile() if differ else None
