"""The record of certificates of a set of images: what ``certify.json`` holds, and the figures in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from snellen.core.evidence import Evidence
from snellen.metrics.clustered import clustered_mean, clustered_share
from snellen.metrics.units import unit_codes
from snellen.runs.record import EVIDENCE as EVIDENCE
from snellen.runs.record import Figure, RejectedImage, RunResult, Summary, Table, figure_row

RECORD = "certify.json"

#: How messages call it.
WHAT = "set of certificates"

#: Points of the curve, evenly up to the largest radius.
POINTS = 8


class CertifiedPoint(BaseModel):
    """Share of the labelled images whose right class is certified at a radius.

    Attributes:
        radius: l2, in [0, 1] pixel units.
        share: of the labelled images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    radius: float
    share: Figure


class CertifiedFigures(BaseModel):
    """What one method proved, or claimed: ``guarantee`` says which.

    Attributes:
        method: the method and its parameters.
        guarantee: whether the radii are proven.
        sigma: of the noise.
        largest_radius: what no image can exceed with so many samples.
        certified: share of the images with a class and a radius, right or wrong.
        certified_accuracy: among the labelled images, share whose right class is certified at any radius.
        average_radius: mean over the labelled images, 0 where it is wrong or abstains (ACR).
        curve: certified accuracy against the radius; at the goal alone where sampling stopped early for one.
        samples_per_image: of each network, without those that chose the class.
        votes_lost: noisy images whose scores were not finite, which voted for no class.
        assumptions: what the certificates say and rest on.
        verdict: in words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: dict[str, object]
    guarantee: bool
    sigma: float
    largest_radius: float
    certified: Figure
    certified_accuracy: Figure
    average_radius: Figure
    curve: tuple[CertifiedPoint, ...]
    samples_per_image: float
    votes_lost: int
    assumptions: tuple[str, ...]
    verdict: str


class CertifiedSet(RunResult):
    """What was certified of a set of images. Holds no clock reading: equal inputs give equal bytes.

    Attributes:
        plan: model, data, settings with their methods, batch size, seed, machine, versions.
        settings: figures of each method, by name.
        rejected: images that could not be used.
    """

    file: ClassVar[str] = RECORD

    settings: dict[str, CertifiedFigures]
    rejected: tuple[RejectedImage, ...] = ()

    def summary(self) -> Summary:
        """Shares, radii and curves, verdicts with what they rest on; what is not proven is not called certified."""
        rows: list[tuple[str, ...]] = []
        lines: list[str] = []
        for name, figures in self.settings.items():
            word = "certified" if figures.guarantee else "claimed"
            shown = {word: figures.certified}
            if figures.certified_accuracy.n:
                shown |= {f"{word}_accuracy": figures.certified_accuracy, "average_radius": figures.average_radius}
                shown |= {f"{word}_accuracy at {point.radius:.3g}": point.share for point in figures.curve}
            rows += [figure_row(f"{name}.{metric}", figure) for metric, figure in shown.items()]
            rows.append((f"{name}.samples_per_image", f"{figures.samples_per_image:.0f}", "", ""))
            lines += [f"\n{name}: {figures.verdict}", *(f"- {assumption}" for assumption in figures.assumptions)]
            if figures.votes_lost:
                lines.append(f"{figures.votes_lost} noisy images had scores that are not finite and no vote")
        return Summary(
            f"{self.plan['model']['name']} on {self.plan['data']['name']}",
            (Table(("metric", "value", "95 % interval", "images"), tuple(rows), frozenset({1, 2, 3})), *lines),
            rejected=self.rejected,
            files=self.files,
            record=RECORD,
        )


def certified_figures(
    evidence: Evidence, method: dict[str, object], *, sigma: float, largest: float, assumptions: Sequence[str]
) -> CertifiedFigures:
    """Figures of one method, from its rows.

    Args:
        evidence: as :class:`snellen.methods.smoothing.certifying.CertifiedByVotes` gives it.
        method: its record.
        sigma: of the noise.
        largest: radius that no image can exceed.
        assumptions: of its certificates.
    """
    rows = evidence.table.to_pylist()
    guarantee = all(row["guarantee"] for row in rows)
    radii = np.array([row["value"] for row in rows])
    held = np.array([row["prediction"] is not None for row in rows])
    known = np.array([row["label"] is not None for row in rows])
    right = held & np.array([row["prediction"] == row["label"] for row in rows])
    units = unit_codes([row["unit_id"] for row in rows])
    goal = method.get("radius")
    at = [float(goal)] if isinstance(goal, int | float) else np.linspace(0, largest, POINTS + 1)[1:].tolist()
    everyone = np.ones(len(rows), dtype=bool)
    lost = sum(int(row["samples"]) - sum(branch) for row in rows for branch in row["votes"])
    certified, accuracy = _share(held, units, everyone), _share(right, units, known)
    return CertifiedFigures(
        method=method,
        guarantee=guarantee,
        sigma=sigma,
        largest_radius=largest,
        certified=certified,
        certified_accuracy=accuracy,
        average_radius=_mean(np.where(right, radii, 0.0), units, known),
        curve=tuple(
            CertifiedPoint(radius=radius, share=_share(right & (radii >= radius), units, known))
            for radius in (at if known.any() else ())
        ),
        samples_per_image=float(np.mean([row["samples"] for row in rows])),
        votes_lost=lost,
        assumptions=tuple(assumptions),
        verdict=_verdict(guarantee, certified, accuracy, float(np.where(held, radii, 0.0).mean()), goal),
    )


def _verdict(guarantee: bool, certified: Figure, accuracy: Figure, mean: float, goal: object) -> str:
    sentence = f"{certified.value or 0:.1%} of {certified.n} images have a certificate, of radius {mean:.3f} on average"
    if accuracy.n:
        sentence += f"; of {accuracy.value or 0:.1%} it is of the right class"
    if goal is not None:
        sentence += f"; sampling stopped as soon as the radius {goal} was decided"
    return sentence if guarantee else f"NO GUARANTEE, the published formula overstates: it claims that {sentence}"


def _share(values: NDArray[np.bool_], units: NDArray[np.int64], counted: NDArray[np.bool_]) -> Figure:
    if not counted.any():
        return Figure(value=None, low=None, high=None, n=0)
    low, high = clustered_share(values[counted], units[counted])
    return Figure(value=float(values[counted].mean()), low=low, high=high, n=int(counted.sum()))


def _mean(values: NDArray[np.float64], units: NDArray[np.int64], counted: NDArray[np.bool_]) -> Figure:
    n = int(counted.sum())
    if not n:
        return Figure(value=None, low=None, high=None, n=0)
    found = clustered_mean(values[counted], units[counted])
    low, high = (None, None) if n < 2 else found.interval()
    ends = [None if end is None or not np.isfinite(end) else max(float(end), 0.0) for end in (low, high)]
    return Figure(value=float(values[counted].mean()), low=ends[0], high=ends[1], n=n)
