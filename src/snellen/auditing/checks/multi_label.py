"""Images that show several classes and have one label."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from snellen.checks.check import Batch, Check, CheckFigure, CheckInput, CheckResult
from snellen.checks.hypothesis import Hypothesis
from snellen.checks.independent import one_of_each_unit
from snellen.checks.per_image import PerImage, array_column, read_array
from snellen.core.evidence import Evidence
from snellen.core.finding import Finding, FindingExample
from snellen.core.method import Need
from snellen.metrics.incomplete_beta import regularised_incomplete_beta
from snellen.metrics.inspection.shown_classes import FEWEST, shown_classes, windows
from snellen.metrics.intervals import clopper_pearson
from snellen.training.transforms import cut_boxes

WINDOWS = "windows"

#: Columns of the evidence: the likeliest class of each window, and its score.
WINNERS, STRENGTHS = "window_classes", "window_scores"


class MultiLabel(Check):
    """Score windows of each image, and report images in which another class than the label is seen as clearly.

    Harm is the share of all images whose decision counts as wrong, though it names a class that is seen beside the
    label. It runs only when named: it costs a pass for each window.
    """

    name: ClassVar[str] = "multi_label"
    summary: ClassVar[str] = "images that show several classes but have one label (on request)"
    one_label: ClassVar[str] = "it looks for second classes in images that have one label, and these have several"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "scores"})
    by_default: ClassVar[bool] = False

    per_side: int = Field(3, ge=2, le=8, description="windows along each axis, each half as high and wide as the image")
    typical: float = Field(
        0.5, gt=0, lt=1, description="share of a class's own images that must see it no more strongly than a window"
    )
    tolerated: float = Field(0.05, gt=0, lt=1, description="share of images up to which nothing is reported")
    examples: int = Field(12, ge=0, description="pictures")

    def figure_names(self) -> frozenset[str]:
        """Known before the audit runs; see :meth:`Check.figure_names`."""
        return self._names("share", "conflicts")

    def cost(self) -> float:
        """A pass for each window."""
        return float(self.per_side**2)

    def measure(self, batch: Batch) -> Evidence | None:
        """The likeliest class of each window, enlarged to the size of the image, and its score."""
        side = batch.images.shape[2]
        if side != batch.images.shape[3]:
            return None
        boxes = torch.from_numpy(windows(self.per_side)).float()
        winners, strengths = [], []
        for box in boxes:
            scores = batch.classifier(cut_boxes(batch.images, box.repeat(len(batch.images), 1), side))
            best = scores.max(1)
            winners.append(best.indices.cpu())
            strengths.append(best.values.cpu().double())
        finite = torch.stack(strengths, 1).isfinite().all(1)
        extra = {
            WINNERS: array_column(torch.stack(winners, 1).numpy()),
            STRENGTHS: array_column(torch.stack(strengths, 1).numpy()),
        }
        return Evidence.of(
            batch.ids,
            setting=WINDOWS,
            model=batch.classifier.name,
            unit_ids=batch.unit_ids,
            label=batch.labels.tolist(),
            prediction=batch.classifier.predict(batch.scores).tolist(),
            status=["ok" if usable else "failed" for usable in finite.tolist()],
            extra=extra,
        )

    def conclude(self, reading: CheckInput) -> CheckResult:
        """The hypothesis that no more images than are tolerated show a second class."""
        known, winners, strengths = seen_windows(reading.images, reading.evidence)
        if len(known) < FEWEST or len(reading.names) < 2:
            return CheckResult(skipped=f"needs {FEWEST} square images with labels, and two classes or more")
        shown = shown_classes(winners, strengths, known.labels, windows(self.per_side), typical=self.typical)
        chosen = shown.judged & one_of_each_unit(known)
        counted, second = known.select(chosen), shown.second[chosen]
        n, several = len(counted), int((second >= 0).sum())
        left_out = [
            f"Several classes in an image: {len(shown.weak)} of {len(reading.names)} classes are not judged, because "
            f"the model sees them as strongly in images of other labels"
        ][: len(shown.weak)]
        if not n:
            return CheckResult(notes=left_out, skipped=f"no class has {FEWEST} images that show it and no other")
        conflicts = int(((second >= 0) & (counted.predictions == second)).sum())
        p_value = regularised_incomplete_beta(self.tolerated, several, n - several + 1) if several else 1.0
        metrics = {}
        for name, times in (("share", several), ("conflicts", conflicts)):
            low, high = clopper_pearson(times, n)
            metrics[f"{self.name}.{name}"] = CheckFigure(value=times / n, low=low, high=high, n=n)

        def harm(confidence: float) -> float:
            return clopper_pearson(conflicts, n, 2 * confidence - 1).low

        return CheckResult(
            metrics=metrics,
            hypotheses=[
                Hypothesis(p_value, harm, lambda bound: self._finding(counted, second, reading.names, p_value, bound))
            ],
            lists={
                self.name: [
                    {"id": known.ids[row], "label": reading.names[known.labels[row]], "also": reading.names[also]}
                    for row, also in enumerate(shown.second.tolist())
                    if also >= 0
                ]
            },
            notes=[
                *left_out,
                "Several classes in an image are found by the model's own scores for windows. A class that it sees in "
                "backgrounds or in parts of other objects is reported, too. One that it does not know is not.",
            ],
        )

    def _finding(
        self, counted: PerImage, second: NDArray[np.int64], names: tuple[str, ...], p_value: float, harm: float
    ) -> Finding:
        rows = np.flatnonzero(second >= 0)
        wrong = rows[counted.predictions[rows] == second[rows]]
        order = [*wrong.tolist(), *(row for row in rows.tolist() if row not in set(wrong.tolist()))]
        mistakes = int((~counted.correct).sum())
        return Finding(
            kind="multi_label",
            harm=harm,
            p_value=p_value,
            title=(
                f"{len(rows) / len(counted):.1%} of the images show a second class; {len(wrong)} of {mistakes} "
                f"mistakes name it"
            ),
            facts={
                "images": len(counted),
                "several": len(rows),
                "mistakes": mistakes,
                "mistakes_that_name_the_second": len(wrong),
            },
            examples=tuple(
                FindingExample(
                    example_id=counted.ids[row],
                    caption=f"labelled {names[counted.labels[row]]}, shows {names[second[row]]} too",
                )
                for row in order[: self.examples]
            ),
            treatments=(
                "look through lists/multi_label.json; images of several classes need several labels: "
                "snellen train label-maps",
            ),
        )


def seen_windows(images: PerImage, evidence: Evidence) -> tuple[PerImage, NDArray[np.int64], NDArray[np.float64]]:
    """Labelled images whose windows were scored, with classes and scores of the windows (n, w).

    Args:
        images: usable ones.
        evidence: of the check.
    """
    table = evidence.where(setting=WINDOWS, status="ok").table
    places = {one: row for row, one in enumerate(images.ids)}
    rows = np.array([places[one] for one in table["example_id"].to_pylist()], dtype=np.int64)
    winners, strengths = read_array(table, WINNERS), read_array(table, STRENGTHS)
    if winners is None or strengths is None or not len(rows):
        return images.select(np.zeros(0, dtype=np.int64)), np.zeros((0, 1), int), np.zeros((0, 1))
    labelled = images.labels[rows] >= 0
    return images.select(rows[labelled]), winners[labelled].astype(np.int64), strengths[labelled].astype(np.float64)
