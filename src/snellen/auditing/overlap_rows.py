"""Pixels of each image that a segmenter has right, by class and setting, and what follows from them with intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from torch import Tensor

from snellen.checks.check import Batch, CheckFigure, CheckInput
from snellen.checks.panels import Line, Panel
from snellen.checks.per_image import array_column, read_array
from snellen.core.evidence import Evidence
from snellen.core.factors import groupings
from snellen.metrics.bootstrap import BootstrapSample, cluster_bootstrap, paired_bootstrap
from snellen.metrics.segmentation import confusion, overlap_of_parts, overlap_parts
from snellen.metrics.weighted import WeightedStatistic

#: Setting of the images as they are, and the column of the pixels right, true and decided of each class.
UNCHANGED, PARTS = "unchanged", "pixels"

#: Name of the class that is no object.
GROUND = "background"


def compared_with(label: int, names: tuple[str, ...]) -> list[int]:
    """The other classes that a class is compared with: without background, which is easy, where others remain.

    >>> compared_with(1, ("background", "disc", "bar")), compared_with(1, ("background", "disc"))
    ([2], [0])
    """
    others = [other for other in range(len(names)) if other != label]
    return [other for other in others if names[other] != GROUND] or others


def overlap_evidence(batch: Batch, setting: str, decided: Tensor, truth: Tensor) -> Evidence:
    """A row for each image: its share of right pixels, and the pixels right, true and decided of each class.

    Args:
        batch: n images.
        setting: what was done to them.
        decided: classes (n, h, w).
        truth: the same, −1 where none is known.
    """
    parts = overlap_parts(confusion(decided.cpu(), truth, len(batch.classifier.class_names)))
    seen = parts[:, 1].sum(1)
    right = np.divide(parts[:, 0].sum(1), seen, out=np.full(len(seen), np.nan), where=seen > 0)
    return Evidence.of(
        batch.ids,
        setting=setting,
        model=batch.classifier.name,
        unit_ids=batch.unit_ids,
        value=[None if np.isnan(share) else float(share) for share in right],
        status=["skipped" if np.isnan(share) else "ok" for share in right],
        reason=["no pixel of it has a known class" if np.isnan(share) else None for share in right],
        extra={PARTS: array_column(parts.astype(np.int64).reshape(len(parts), -1))},
    )


def skipped_evidence(batch: Batch, reasons: dict[int, str], setting: str = UNCHANGED) -> Evidence:
    """Rows of images that could not be measured, by their place in the batch."""
    rows, width = sorted(reasons), 3 * len(batch.classifier.class_names)
    return Evidence.of(
        [batch.ids[row] for row in rows],
        setting=setting,
        model=batch.classifier.name,
        unit_ids=[batch.unit_ids[row] for row in rows],
        status="skipped",
        reason=[reasons[row] for row in rows],
        extra={PARTS: array_column(np.zeros((len(rows), width), dtype=np.int64))},
    )


def reasons_of(evidence: Evidence) -> str:
    """Why images were skipped, the most frequent reason first, as the end of a sentence."""
    found = Counter(evidence.where(setting=UNCHANGED, status="skipped").table["reason"].to_pylist())
    return "".join(f"; {times} times: {why}" for why, times in found.most_common(3))


@dataclass(frozen=True, eq=False)
class OverlapRows:
    """The images with a usable mask, in the order of the evidence.

    Attributes:
        evidence: of all settings.
        ids: of the images.
        parts: pixels right, true and decided of each class, as they are, (n, 3, k).
        right: share of right pixels (n,).
        units: code of the unit of each (n,).
        groups: name of the group of each, None where unknown.
        seed: of the resamples.
        factors: values of several groups by their names, each (n,).
    """

    evidence: Evidence
    ids: tuple[str, ...]
    parts: NDArray[np.int64]
    right: NDArray[np.float64]
    units: NDArray[np.int64]
    groups: tuple[str | None, ...]
    seed: int
    factors: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, reading: CheckInput, name: str) -> OverlapRows | None:
        """Read the evidence of a check; None where it holds no usable image."""
        table = reading.evidence.where(setting=UNCHANGED, status="ok").table
        if not len(table):
            return None
        ids = tuple(table["example_id"].to_pylist())
        codes = {unit: code for code, unit in enumerate(dict.fromkeys(table["unit_id"].to_pylist()))}
        place = {key: row for row, key in enumerate(reading.images.ids)}
        rows = [place.get(key) for key in ids]

        def of_these(values: Sequence[str | None]) -> tuple[str | None, ...]:
            return tuple(None if row is None or not values else values[row] for row in rows)

        return cls(
            reading.evidence,
            ids,
            _parts(table, len(reading.names)),
            table["value"].to_numpy().astype(np.float64),
            np.array([codes[unit] for unit in table["unit_id"].to_pylist()], dtype=np.int64),
            of_these(reading.images.groups),
            reading.rng.child(name).generator("resamples").initial_seed(),
            {factor: of_these(values) for factor, values in reading.images.factors.items()},
        )

    @property
    def groupings(self) -> list[tuple[str | None, ...]]:
        """Name of the group of each image, by each of several groups (``scanner=GE``) or by the one."""
        return groupings(self.groups, self.factors)

    @cached_property
    def everywhere(self) -> NDArray[np.bool_]:
        """All images."""
        return np.ones(len(self.ids), dtype=np.bool_)

    def at(self, setting: str) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Which images were measured in a setting (n,), and their pixels there (n, 3, k); zeros elsewhere."""
        table = self.evidence.where(setting=setting, status="ok").table
        held, parts = np.zeros(len(self.ids), dtype=np.bool_), np.zeros_like(self.parts)
        if len(table):
            places = pc.index_in(table["example_id"], pa.array(self.ids)).to_numpy().astype(np.int64)
            held[places], parts[places] = True, _parts(table, self.parts.shape[2])
        return held, parts

    def units_in(self, held: NDArray[np.bool_]) -> int:
        """How many units some images are of."""
        return len(np.unique(self.units[held]))

    def sample(self, statistic: WeightedStatistic, held: NDArray[np.bool_]) -> BootstrapSample:
        """A figure of some images, with resamples of their units."""
        return cluster_bootstrap(statistic, int(held.sum()), self.units[held], rng=np.random.default_rng(self.seed))

    def paired(self, first: WeightedStatistic, second: WeightedStatistic, held: NDArray[np.bool_]) -> BootstrapSample:
        """A difference of two figures of the same images."""
        rng = np.random.default_rng(self.seed)
        return paired_bootstrap(first, second, int(held.sum()), self.units[held], rng=rng)

    def figure(self, statistic: WeightedStatistic, held: NDArray[np.bool_]) -> CheckFigure:
        """The same with its 95 % interval."""
        found = self.sample(statistic, held)
        low, high = found.bca()
        return CheckFigure(value=found.value, low=max(low, 0.0), high=min(high, 1.0), n=int(held.sum()))

    def listed(self, names: tuple[str, ...]) -> list[dict[str, object]]:
        """Each image, those with the fewest right pixels first."""
        overlap = overlap_of_parts(self.parts)
        return [
            {
                "id": self.ids[row],
                "right": float(self.right[row]),
                "overlap": {
                    names[label]: round(float(overlap[row, label]), 6)
                    for label in np.flatnonzero(np.isfinite(overlap[row]))
                },
            }
            for row in np.argsort(self.right, kind="stable").tolist()
        ]


def overlap_panels(rows: OverlapRows, names: tuple[str, ...], lines: Sequence[Line], *, check: str) -> list[Panel]:
    """The table of classes, and curves over the severities of corruptions where there are any."""
    total = rows.parts.sum(0)
    overlap = overlap_of_parts(total)
    table = Panel(
        check=check,
        title="Overlap by class",
        about="Of the images as they are: pixels that are right, over those that are true or decided.",
        head=("class", "overlap", "share of true pixels", "share of decided pixels"),
        rows=tuple(
            (
                names[label],
                round(float(overlap[label]), 4),
                round(float(total[1, label] / total[1].sum()), 4),
                round(float(total[2, label] / total[2].sum()), 4),
            )
            for label in np.flatnonzero(np.isfinite(overlap)).tolist()
        ),
    )
    if not lines:
        return [table]
    curves = Panel(
        check=check,
        title="mIoU under corruptions",
        about="Severity 0 is the same images as they are. Kinds that move pixels are left out.",
        x_label="severity",
        y_label="mIoU",
        lines=tuple(lines),
    )
    return [table, curves]


def _parts(table: pa.Table, classes: int) -> NDArray[np.int64]:
    found = read_array(table, PARTS)
    assert found is not None
    return np.asarray(found).reshape(len(table), 3, classes)
