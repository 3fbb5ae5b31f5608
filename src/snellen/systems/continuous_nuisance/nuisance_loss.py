"""What a model loses along trajectories of one nuisance: accuracy by strength, and where each image first fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.checks.charts import LOOKS
from snellen.checks.check import CheckFigure
from snellen.checks.panels import Line, Panel, Point
from snellen.checks.per_image import RIGHT, PerImage
from snellen.checks.strengths import Lost, accuracy_at, failure_severities, half_lost_at, lost_over
from snellen.metrics.clustered import clustered_mean
from snellen.systems.continuous_nuisance.strengths import beyond


@dataclass(frozen=True, eq=False)
class NuisanceLoss:
    """Figures of the images that were measured at every strength.

    Attributes:
        lost: right decisions lost, paired.
        unchanged: accuracy without the nuisance.
        accuracies: at each strength.
        failure_point: mean over the images that are right without it of the first strength at which each is wrong,
            even if it is right again later; images that never fail count with
            :func:`snellen.systems.continuous_nuisance.strengths.beyond`. None where no image is right.
        failed: share of those that ever fail.
        half: smallest strength by which half of them have failed; None where fewer do.
    """

    lost: Lost
    unchanged: CheckFigure
    accuracies: tuple[CheckFigure, ...]
    failure_point: CheckFigure | None
    failed: float
    half: float | None

    def line(self, name: str, strengths: Sequence[float]) -> Line:
        """Accuracy over strength, from none on."""
        measured = zip((0.0, *strengths), (self.unchanged, *self.accuracies), strict=True)
        points = [Point(x=at, y=one.value, low=one.low, high=one.high) for at, one in sorted(measured)]
        return Line(name=name, points=tuple(points))

    def row(self) -> tuple[float | str, ...]:
        """Accuracy without it, mean loss, mean failure point, half broken by, share that never fails."""
        return (
            round(self.lost.before, 4),
            round(self.lost.mean, 4),
            "–" if self.failure_point is None else round(self.failure_point.value, 3),
            "never" if self.half is None else self.half,
            round(1 - self.failed, 4),
        )

    def metrics(self, strengths: Sequence[float]) -> dict[str, CheckFigure]:
        """``STRENGTH.accuracy`` by ascending strength, ``lost`` and, where any image is right, ``failure_point``."""
        measured = sorted(zip(strengths, self.accuracies, strict=True), key=lambda pair: pair[0])
        found = {f"{strength:g}.accuracy": accuracy for strength, accuracy in measured}
        found["lost"] = loss_measured(self)
        return found if self.failure_point is None else {**found, "failure_point": self.failure_point}

    def facts(self, nuisance: str, strengths: Sequence[float]) -> dict[str, str | float]:
        """What a finding says."""
        interval = loss_measured(self)
        return {
            "nuisance": nuisance,
            "accuracy_without_it": self.lost.before,
            "mean_drop": self.lost.mean,
            "mean_drop_low": interval.low,
            "mean_drop_high": interval.high,
            "worst_strength": strengths[self.lost.worst],
            "worst_drop": self.lost.before - float(self.lost.after[self.lost.worst]),
            "mean_failure_point": "–" if self.failure_point is None else self.failure_point.value,
            "half_failed_by_strength": "never" if self.half is None else self.half,
            "share_that_never_fails": 1 - self.failed,
        }


#: Heads of :meth:`NuisanceLoss.row`.
HEADS = ("right at 0", "mean loss", "fails at", "half by", "never")


def nuisance_loss(known: PerImage, outcomes: NDArray[np.int8], strengths: Sequence[float]) -> NuisanceLoss | None:
    """Figures of one nuisance; None where no image was measured at every strength.

    Args:
        known: n images, or trajectories, and what is decided without the nuisance.
        outcomes: (strengths, n), see :meth:`snellen.checks.per_image.PerImage.outcomes`.
        strengths: above 0, in the order of the outcomes.
    """
    lost = lost_over(known.correct, outcomes, known.units)
    if lost is None:
        return None
    whole, after = known.select(lost.paired), outcomes[:, lost.paired]
    first = failure_severities(whole, after, strengths)
    last = beyond(strengths)
    point = None
    if len(first):
        found = clustered_mean(np.where(np.isfinite(first), first, last), whole.units_of(whole.correct))
        low, high = found.interval() if len(first) > 1 else (0.0, last)
        point = CheckFigure(value=found.value, low=max(low, 0.0), high=min(high, last), n=len(first))
    return NuisanceLoss(
        lost=lost,
        unchanged=accuracy_at(whole.correct.astype(np.int8), whole.units),
        accuracies=tuple(accuracy_at(rows, whole.units) for rows in after),
        failure_point=point,
        failed=float(np.isfinite(first).mean()) if len(first) else 0.0,
        half=half_lost_at(first),
    )


def lost_by_image(
    known: PerImage, losses: Mapping[str, NuisanceLoss], outcomes: Mapping[str, NDArray[np.int8]]
) -> list[dict[str, object]]:
    """What each image loses under each nuisance, by ``NUISANCE.lost``: the figures of that name are the means.

    Args:
        known: n images.
        losses: by nuisance.
        outcomes: (strengths, n) by nuisance.
    """
    rows: dict[str, dict[str, object]] = {}
    for nuisance, loss in losses.items():
        for place in np.flatnonzero(loss.lost.paired).tolist():
            kept = float((outcomes[nuisance][:, place] == RIGHT).mean())
            row = rows.setdefault(known.ids[place], {"id": known.ids[place]})
            row[f"{nuisance}.lost"] = float(known.correct[place]) - kept
    return list(rows.values())


def loss_measured(loss: NuisanceLoss) -> CheckFigure:
    """The mean loss as a figure, without pseudo-units, with the interval that has them."""
    low, high = loss.lost.drop.interval()
    value = loss.lost.mean
    return CheckFigure(
        value=value, low=max(min(low, value), -1.0), high=min(max(high, value), 1.0), n=int(loss.lost.paired.sum())
    )


def loss_panels(
    losses: Mapping[str, NuisanceLoss], strengths: Sequence[float], *, check: str, title: str, about: str
) -> list[Panel]:
    """Curves and a table for each few nuisances: as many as lines of one chart can be distinguished.

    Args:
        losses: by the name of the nuisance.
        strengths: above 0, in the order of the outcomes.
        check: name of the check.
        title: of all of them.
        about: what is measured, one sentence.
    """
    names, panels = list(losses), []
    # As even as can be: six are three and three.
    parts = -(-len(names) // LOOKS)
    for part in range(parts):
        chosen = names[part * len(names) // parts : (part + 1) * len(names) // parts]
        panels.append(
            Panel(
                check=check,
                title=title if parts == 1 else f"{title}: {', '.join(chosen)}",
                about=f"{about} fails at: mean of the first strengths at which one that is right is wrong, "
                f"{beyond(strengths):g} where it never is; half by: half of them have failed by then.",
                x_label="strength",
                y_label="accuracy",
                lines=tuple(losses[name].line(name, strengths) for name in chosen),
                head=("nuisance", *HEADS),
                rows=tuple((name, *losses[name].row()) for name in chosen),
            )
        )
    return panels
