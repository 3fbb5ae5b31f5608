"""The record of explanations: what ``explain.json`` holds, and the figures in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from snellen.core.evidence import Evidence
from snellen.metrics.clustered import clustered_mean
from snellen.metrics.units import unit_codes
from snellen.runs.record import EVIDENCE as EVIDENCE
from snellen.runs.record import Figure, RejectedImage, RunResult, Summary, Table
from snellen.verbs.explained_batches import CONTROL, FIGURE

RECORD = "explain.json"

#: How messages call it.
WHAT = "set of explanations"

#: Sentences that a summary shows; all are in the evidence.
_SENTENCES = 5

#: What the figures of methods mean, in a sentence; others are shown by their name alone.
FIGURE_WORDS: Mapping[str, str] = {
    "agreement": "share of the reconstructions that the model takes for what it takes the images for",
    "auroc": "area under the ROC curve of the part's score on images where it is known whether they show it",
    "completeness_gap": "the map's sum less the change of the score that it should add up to; 0 is right",
    "deletion": "area under the curve of the probability as the most important pixels are removed first; low is good",
    "distance": "perceptual distance of the changed image from its reconstruction; low is good",
    "drop": "how much probability is lost when the part is removed; high is good",
    "effect": "mean rise of the class's logit over the images that are taken for another class",
    "flipped": "share of images whose decision changes when all parts are moved together; high is good",
    "flipped_alone": "share of images whose decision changes when one part alone is moved; high is good",
    "followed": "share of these changes that a second classifier follows; low is a sign of an artefact",
    "influence": "mean size of what the part adds to the score of the decision, in units of the score",
    "insertion": "area under the curve of the probability as the most important pixels come first; high is good",
    "kept": "the probability when only the part is kept; high is good",
    "off_manifold": "share of changed images that the critic finds less real than 95 % of the reconstructions",
    "sentence": "logarithm of the probability of the sentence, seeing the part; high is good",
}


class ExplainedFigure(BaseModel):
    """A figure of an explanation beside that of random parts of equal size.

    Attributes:
        words: what it means; empty where that is not written down.
        found: mean over the images, or over the parts of a model.
        control: the same for random parts; None where the method has no control for it.
        difference: mean of the paired differences, found − control.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    words: str = ""
    found: Figure
    control: Figure | None = None
    difference: Figure | None = None


class ExplanationFigures(BaseModel):
    """The explanations of one method.

    Attributes:
        method: the method and its parameters.
        of: what it explains: ``images``, or ``parts`` of the model.
        explained: how many it explained.
        requested: of so many; ``asked`` in the file.
        figures: how far the explanations hold, by name.
        reasons: why there was no explanation, and how often.
        queries: images sent through the model, in all.
        gradients: the same for gradients.
        assumptions: what the explanations rest on.
        verdict: in words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, serialize_by_alias=True)

    method: dict[str, object]
    of: str
    explained: int
    requested: int = Field(alias="asked", description="of so many")
    figures: dict[str, ExplainedFigure]
    reasons: dict[str, int]
    queries: int
    gradients: int
    assumptions: tuple[str, ...]
    verdict: str


class ExplainedSet(RunResult):
    """What was explained. Holds no clock reading: equal inputs give equal bytes.

    Attributes:
        plan: model, data, settings with their methods, target, batch size, seed, machine, versions.
        settings: figures of each method, by name.
        rejected: images that could not be used.
        files: evidence, page and folders of sheets, relative to the folder.
    """

    file: ClassVar[str] = RECORD

    settings: dict[str, ExplanationFigures]
    rejected: tuple[RejectedImage, ...] = ()

    def summary(self) -> Summary:
        """Figures beside those of random parts, verdicts, and the first sentences."""
        rows, lines = list[tuple[str, ...]](), list[str]()
        for name, figures in self.settings.items():
            for metric, figure in figures.figures.items():
                values = (_number(one) for one in (figure.found, figure.control, figure.difference))
                rows.append((f"{name}.{metric}", *values, _interval(figure.difference), str(figure.found.n)))
            lines.append(f"\n{name}: {figures.verdict}")
            lines += [f"{count} without an explanation: {reason}" for reason, count in figures.reasons.items()]
        texts = self.evidence.table.select(["example_id", "text"]).to_pylist() if self.evidence else []
        lines += [f"- {row['example_id']}: {row['text']}" for row in texts if row["text"]][:_SENTENCES]
        columns = ("figure", "found", "random part", "difference", "95 % interval of it", "n")
        table = (Table(columns, tuple(rows), frozenset(range(1, 6))),) if rows else ()
        return Summary(
            f"{self.plan['model']['name']} on {self.plan['data']['name']}",
            (*table, *lines),
            rejected=self.rejected,
            files=self.files,
            record=RECORD,
        )


def explanation_figures(evidence: Evidence, method: dict[str, object], *, of: str) -> ExplanationFigures:
    """Figures of one method, from its rows.

    Args:
        evidence: as :mod:`snellen.verbs.explained_batches` makes it.
        method: its record.
        of: ``images`` or ``parts``.
    """
    table = evidence.table
    statuses, reasons = table["status"].to_pylist(), table["reason"].to_pylist()
    done = [status == "ok" for status in statuses]
    units = unit_codes(table["unit_id"].to_pylist())
    names = [name.removeprefix(FIGURE) for name in table.column_names if name.startswith(FIGURE)]
    figures = {name: _figure(evidence, name, np.array(done, dtype=bool), units) for name in names}
    explained, requested = sum(done), len(done)
    return ExplanationFigures(
        method=method,
        of=of,
        explained=explained,
        requested=requested,
        figures=figures,
        reasons=dict(sorted(Counter(str(reason) for reason, ok in zip(reasons, done, strict=True) if not ok).items())),
        queries=evidence.spent.queries,
        gradients=evidence.spent.gradients,
        assumptions=evidence.assumptions,
        verdict=_verdict(of, explained, requested),
    )


def _number(figure: Figure | None) -> str:
    """A mean, or a dash where there is none."""
    return "–" if figure is None or figure.value is None else f"{figure.value:.4f}"


def _interval(difference: Figure | None) -> str:
    """Both ends, nothing where nothing was compared, or a dash where one case is too few for an interval."""
    if difference is None:
        return ""
    if difference.low is None or difference.high is None:
        return "–"
    return f"{difference.low:.4f} – {difference.high:.4f}"


def _verdict(of: str, explained: int, requested: int) -> str:
    if of == "parts":
        count = f"{explained} of {requested} parts described"
        return f"{count}; a description says what a part responds to, not what it is for"
    return (
        f"{explained} of {requested} images explained; an explanation says what the model used, not whether it is right"
    )


def _figure(evidence: Evidence, name: str, done: NDArray[np.bool_], units: NDArray[np.int64]) -> ExplainedFigure:
    found = _column(evidence, f"{FIGURE}{name}")
    words = FIGURE_WORDS.get(name, "")
    known = done & np.isfinite(found)
    if f"{CONTROL}{name}" not in evidence.table.column_names:
        return ExplainedFigure(words=words, found=_mean(found, units, known))
    control = _column(evidence, f"{CONTROL}{name}")
    both = known & np.isfinite(control)
    return ExplainedFigure(
        words=words,
        found=_mean(found, units, known),
        control=_mean(control, units, both),
        difference=_mean(found - control, units, both),
    )


def _column(evidence: Evidence, name: str) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in evidence.table[name].to_pylist()], dtype=float)


def _mean(values: NDArray[np.float64], units: NDArray[np.int64], counted: NDArray[np.bool_]) -> Figure:
    n = int(counted.sum())
    if not n:
        return Figure(value=None, low=None, high=None, n=0)
    if n < 2:
        return Figure(value=float(values[counted][0]), low=None, high=None, n=n)
    low, high = (
        float(end) if np.isfinite(end) else None for end in clustered_mean(values[counted], units[counted]).interval()
    )
    return Figure(value=float(values[counted].mean()), low=low, high=high, n=n)
