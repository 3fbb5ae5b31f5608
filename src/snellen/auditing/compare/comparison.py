"""The result of comparing two audits as data (what comparison.json holds), and the word for each difference."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from snellen.auditing.compare.difference import Difference
from snellen.auditing.compare.margins import NotWorse
from snellen.core.finding import Level
from snellen.core.formats import FORMATS
from snellen.metrics.multiplicity import benjamini_hochberg

#: Of a figure: what the paired test says, with "same" only where the interval is narrow.
FigureVerdict = Literal["better", "same", "worse", "unclear", "not compared"]

#: Of a finding.
FindingVerdict = Literal["mended", "better", "same", "worse", "unclear", "new"]


class ComparedRun(BaseModel):
    """One of the two runs.

    Attributes:
        model: name of the classifier.
        data: name of the image set.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    identity: str | None = Field(description="hash of the weights")
    data: str
    fingerprint: str = Field(description="of the image set")
    images: int = Field(description="images used")
    code: str | None = Field(None, description="version of Snellen")


class ComparedFigure(BaseModel):
    """A figure of both runs on the images that are compared, and second − first with its 95 % interval.

    Attributes:
        name: of the figure, as in report.json.
        first: value in the earlier run; null where it was not measured.
        second: likewise in the later one.
        difference: second − first; null where the figure is not compared.
        high: upper end of the 95 % interval.
        paired: whether each image is compared with itself.
        verdict: of the difference, by the test.
        reason: why the figure is not compared, or why a change that is significant alone is unclear; null otherwise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    first: float | None
    second: float | None
    difference: float | None = None
    low: float | None = Field(None, description="lower end of the 95 % interval; null when there is none")
    high: float | None = None
    p_value: float | None = Field(None, description="two-sided, of no difference, not corrected for their number")
    n: int = Field(0, description="images compared")
    paired: bool = False
    verdict: FigureVerdict
    reason: str | None = None


class ComparedFinding(BaseModel):
    """A finding of either run, by what became of the quantity behind it: a rise of the difference is worse.

    Attributes:
        key: kind and subject of the finding.
        title: of the later run, else of the earlier one.
        second_harm: likewise of the second.
        first_level: of the finding in the first run; null likewise.
        second_level: likewise in the second.
        difference: second − first of the quantity; null where it is not known.
        low: lower end of its 95 % interval.
        high: upper end.
        p_value: two-sided, of no difference; null without a test.
        paired: whether each image is compared with itself.
        verdict: mended, better, same, worse, unclear or new.
        reason: why nothing more is known; null otherwise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    title: str
    first_harm: float | None = Field(description="null when the first run did not report it")
    second_harm: float | None
    first_level: Level | None
    second_level: Level | None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    paired: bool = False
    verdict: FindingVerdict
    reason: str | None = None


class ComparedAcuity(BaseModel):
    """Severity up to which each run reads, and second − first with its 95 % interval.

    Attributes:
        name: of the disturbance.
        first: of the earlier run.
        second: of the later run.
        second_censored: likewise of the second run.
        difference: second − first.
        low: lower end of the 95 % interval.
        high: upper end.
        paired: whether each image is compared with itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    first: float
    second: float
    first_censored: bool = Field(description="the first run reads the last line that was tested")
    second_censored: bool
    difference: float
    low: float
    high: float
    paired: bool


class Comparison(BaseModel):
    """Two audits compared. Holds no clock reading and no path: equal runs give equal bytes.

    Attributes:
        first: the earlier run.
        second: the later one; differences are second − first.
        paired: whether both were made on the same images.
        shared: images that are compared, of the later run where nothing is paired.
        units: independent units among them.
        margin: "same" means that the whole 95 % interval of the difference lies within ± this.
        tested: differences of figures that were tested together, and of quantities behind findings.
        figures: every metric of either run, then the accuracy of each class.
        findings: every finding of either run, what got worse first.
        acuities: the eye charts.
        not_worse: margins within which figures had to be no worse, and what came out; empty where none was given.
        notes: how to read it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: ComparedRun
    second: ComparedRun
    paired: bool
    shared: int
    units: int
    margin: float
    tested: dict[Literal["figures", "findings"], int]
    figures: tuple[ComparedFigure, ...]
    findings: tuple[ComparedFinding, ...]
    acuities: tuple[ComparedAcuity, ...]
    not_worse: tuple[NotWorse, ...] = ()
    notes: tuple[str, ...]

    @property
    def losses(self) -> tuple[ComparedFigure, ...]:
        """Figures that got significantly worse: what a gate fails on."""
        return tuple(figure for figure in self.figures if figure.verdict == "worse")

    @property
    def gains(self) -> tuple[ComparedFigure, ...]:
        """Figures that got significantly better."""
        return tuple(figure for figure in self.figures if figure.verdict == "better")

    def to_json(self) -> dict[str, Any]:
        """JSON values, as ``comparison.json`` holds them."""
        return FORMATS["comparison.json"].stamped(self.model_dump(mode="json"))

    def __repr__(self) -> str:
        how = "paired" if self.paired else "not paired"
        return (
            f"Comparison({self.first.model} → {self.second.model}, {self.shared} images, {how}: "
            f"{len(self.losses)} figures worse, {len(self.gains)} better)"
        )

    __str__ = __repr__

    def _repr_html_(self) -> str:
        def row(cells: list[str], tag: str = "td") -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

        figures = [row(["figure", "first", "second", "difference", "95 % interval", "verdict"], "th")]
        figures += [row([one.name, *shown(one), one.verdict]) for one in self.figures if one.difference is not None]
        findings = [row(["finding", "first harm", "second harm", "verdict"], "th")]
        findings += [row([f.title, percent(f.first_harm), percent(f.second_harm), f.verdict]) for f in self.findings]
        return f"<table>{''.join(findings)}</table><table>{''.join(figures)}</table>"


def shown(figure: ComparedFigure) -> list[str]:
    """First, second, difference and interval in words.

    >>> figure = ComparedFigure(name="a", first=0.5, second=0.75, difference=0.25, verdict="unclear")
    >>> shown(figure)
    ['0.5000', '0.7500', '+0.2500', '']
    """
    ends = "" if figure.low is None or figure.high is None else f"{figure.low:+.4f} to {figure.high:+.4f}"
    values = ["" if value is None else f"{value:.4f}" for value in (figure.first, figure.second)]
    return [*values, "" if figure.difference is None else f"{figure.difference:+.4f}", ends]


def percent(harm: float | None) -> str:
    """Harm in words; a dash where the finding was not reported.

    >>> percent(0.123), percent(None)
    ('12.3%', '–')
    """
    return "–" if harm is None else f"{harm:.1%}"


#: False discovery rate among the reported losses, and among the gains: 5 % together.
RATE = 0.025

#: "Same": the whole 95 % interval lies within plus or minus this; two points of accuracy.
MARGIN = 0.02


def believed(losses: Sequence[float], gains: Sequence[float]) -> tuple[list[bool], list[bool]]:
    """Which are losses, and which are gains.

    Losses are judged among all possible losses and gains among all possible gains (Benjamini and Hochberg 1995,
    one-sided p values, at 2.5 % each). So gains, however many, make no false loss more likely: where nothing was lost,
    any loss is reported in at most 2.5 % of comparisons, which is what a gate needs.

    >>> believed([0.001, 0.6], [0.999, 0.4])
    ([True, False], [False, False])

    Args:
        losses: p values of "nothing was lost", of all differences that were tested together.
        gains: those of "nothing was gained", in the same order.
    """
    return benjamini_hochberg(losses, RATE).tolist(), benjamini_hochberg(gains, RATE).tolist()


def figure_verdict(difference: Difference, *, lost: bool, gained: bool, margin: float) -> FigureVerdict:
    """The word for a figure: no difference that is believed is "same" only where a large one is excluded."""
    if lost or gained:
        return "worse" if lost else "better"
    return "same" if is_same(difference, margin) else "unclear"


def unclear_among(verdict: str, difference: Difference, tested: int) -> str | None:
    """Why a difference whose own test finds a change is unclear; None of any other.

    Args:
        verdict: on the difference.
        difference: as measured.
        tested: differences that were tested together.
    """
    if verdict != "unclear" or min(difference.rise, difference.fall) > RATE:
        return None
    return f"a change if tested alone, and not sure among the {tested} differences that were tested together"


def is_same(difference: Difference, margin: float) -> bool:
    """Whether not one image differs, or the whole interval lies within the margin."""
    return difference.identical or (difference.low >= -margin and difference.high <= margin)


def finding_verdict(
    difference: Difference | None, *, before: bool, after: bool, lost: bool, gained: bool, margin: float
) -> FindingVerdict:
    """The word for a finding.

    What counts is the quantity behind it. A finding that is no longer reported, though its quantity cannot be shown to
    have fallen, is unclear: the second run may just have seen too few images.

    Args:
        difference: of the quantity; None where it could not be measured in both.
        before: whether the first run reported it.
        after: whether the second did.
        lost: the quantity rose significantly. gained: it fell significantly.
        margin: of "same".
    """
    if difference is None:
        return "unclear"
    if lost:
        return "worse" if before else "new"
    if gained:
        return "better" if after else "mended"
    return "same" if before and after and is_same(difference, margin) else "unclear"
