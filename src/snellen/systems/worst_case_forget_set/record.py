"""The record of a search: what ``forget-set.json`` holds."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from snellen.methods.forgetting.judging import Judgement
from snellen.runs.record import Figure, RunResult, Summary, Table

RECORD = "forget-set.json"

#: Ids of the forget set, one a line: what ``snellen forget METHOD --ids`` reads. And the weights of all steps.
IDS, WEIGHTS = "forget-set.txt", "selection.safetensors"

#: How messages call it.
WHAT = "forget set"

#: The random set on which learning rates are chosen: gaps on it are smaller than on other random sets.
TUNING = "random 1"

#: Names of the searched set.
WORST, EASIEST = "worst-case", "easiest"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class JudgedRow(_Part):
    """A network beside a forget set.

    Attributes:
        forget_set: ``worst-case``, ``random 1``, ``lowest loss`` …
        method: setting of the unlearning method; ``retraining``; ``as it was``: the classifier itself.
        rate: learning rate of the method, chosen on ``random 1``; None where it has none.
        figures: of the network.
        gap: mean absolute difference to retraining without the same forget set; None of retraining itself.
        reason: why there are no figures: the method diverged.
    """

    forget_set: str
    method: str
    rate: float | None = None
    figures: Judgement | None = None
    gap: float | None = None
    reason: str | None = None


class Tried(_Part):
    """A learning rate that was tried on ``random 1``, and its gap to retraining; None: it diverged.

    Attributes:
        method: of forgetting.
        rate: learning rate.
        gap: to retraining; null where it diverged.
    """

    method: str
    rate: float
    gap: float | None


class WorstCaseForgetSet(RunResult):
    """The forget set that is hardest to unlearn, and unlearning methods on it, beside random sets of equal size.

    Attributes:
        count: images of the forget set.
        overlap: share of the selection that stood in a binary start of the search, above 0.9 the search hardly moved;
            None for a uniform start.
        moved: share of the weight of the selection that the search moved; below 0.1 it hardly moved.
        losses: mean loss of the set after unlearning, at each step of the search.
        classes: images of each class in the set.
        shared: share of the set that stands in the sets of selectors that need no search, by name.
        rows: every network beside every set.
        tried: learning rates on ``random 1``.
        notes: warnings, in words.
    """

    file: ClassVar[str] = RECORD

    count: int = 0
    overlap: float | None = None
    moved: float = 0.0
    losses: tuple[float, ...] = ()
    classes: dict[str, int] = {}
    shared: dict[str, float] = {}
    rows: tuple[JudgedRow, ...] = ()
    tried: tuple[Tried, ...] = ()
    notes: tuple[str, ...] = ()

    def row(self, forget_set: str, method: str) -> JudgedRow:
        """The row of a network beside a set."""
        return next(one for one in self.rows if (one.forget_set, one.method) == (forget_set, method))

    def summary(self) -> Summary:
        """Methods on the searched set and on random ones, classes, and warnings."""
        few = ("unlearning", "membership", "remaining", "test")
        cells = tuple(
            (
                one.method,
                one.forget_set + (" (rate chosen here)" if one.forget_set == TUNING and one.rate is not None else ""),
                "–" if one.rate is None else f"{one.rate:g}",
                *(("–",) * 4 if one.figures is None else (_percent(getattr(one.figures, name)) for name in few)),
                one.reason or ("–" if one.gap is None else f"{100 * one.gap:.1f}"),
            )
            for one in self.rows
        )
        common = sorted(self.classes.items(), key=lambda pair: -pair[1])[:5]
        lines = [
            f"\n{self.count} images; most of them: {', '.join(f'{name} {number}' for name, number in common)}",
            "shared with selectors that need no search: "
            + ", ".join(f"{name} {share:.0%}" for name, share in self.shared.items()),
            *self.notes,
        ]
        table = Table(
            ("network", "forget set", "rate", "UA %", "MIA %", "RA %", "TA %", "gap %"), cells, frozenset(range(2, 8))
        )
        return Summary(self.plan["model"]["name"], (table, *lines), files=self.files, record=RECORD)

    def _verdict(self) -> str:
        return f"{self.count} images, {len(self.rows)} networks judged"


def _percent(figure: Figure) -> str:
    return "–" if figure.value is None else f"{100 * figure.value:.1f}"


def kept(judgement: Judgement) -> dict[str, Any]:
    """A judgement as a shard holds it."""
    return judgement.model_dump(mode="json")
