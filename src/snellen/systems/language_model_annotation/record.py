"""The record of a labelled concept: what ``label.json`` holds, and what a terminal shows of it."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from snellen.runs.record import RejectedImage, RunResult, Summary, Table
from snellen.systems.language_model_annotation.agreement import FIGURES, Agreement
from snellen.systems.language_model_annotation.definition import Definition
from snellen.systems.language_model_annotation.ledger import Cost
from snellen.systems.language_model_annotation.mining import Queries
from snellen.systems.language_model_annotation.questions import Question

RECORD = "label.json"

#: How messages call it.
WHAT = "labelled concept"

#: Files beside the record.
DEFINITION, LABELS, TRANSCRIPTS, CLASSIFIER, PAGE = (
    "definition.toml", "labels.csv", "transcripts.jsonl", "classifier", "label.html",
)  # fmt: skip


class Disagreement(BaseModel):
    """An image of the half that chooses, which owner and annotator decide differently: matter for a correction.

    Attributes:
        image: its id.
        owner: label of the owner, 1 or 0.
        machine: label of the annotator; null where it is undecided.
        rationale: of the annotator, in words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: str
    owner: int
    machine: int | None
    rationale: str


class LabelledConcept(RunResult):
    """A concept in words, and the classifier that came of it.

    Attributes:
        definition: with all corrections.
        questions: one for each condition.
        queries: that images were mined by.
        counts: of machine labels: positive, negative, undecided.
        problems: why images are undecided, with how many.
        agreement: teacher, student and baselines against the owner; empty without labels of the owner.
        disagreements: on the half that chooses.
        threshold: of the student's probability, built into the classifier. logit: the same before the sigmoid.
        effort: of the owner: labels and corrections.
        cost: of all machine labels, when they were made; ``of_owner`` for images that the owner labelled too.
        stopped: why fewer images were labelled than planned; empty otherwise.
        rejected: images of the pool that cannot be used.
    """

    file: ClassVar[str] = RECORD

    definition: Definition | None = None
    questions: tuple[Question, ...] = ()
    queries: Queries | None = None
    counts: dict[str, int] = {}
    problems: dict[str, int] = {}
    agreement: tuple[Agreement, ...] = ()
    disagreements: tuple[Disagreement, ...] = ()
    threshold: float = 0.5
    logit: float = 0.0
    effort: dict[str, int] = {}
    cost: dict[str, Cost] = {}
    stopped: str = ""
    rejected: tuple[RejectedImage, ...] = ()

    def summary(self) -> Summary:
        """Labels, agreement and cost."""
        assert self.definition is not None
        rows = tuple(
            (one.who, *(_cell(one, name) for name in ("f1", "precision", "recall")), str(one.undecided))
            for one in self.agreement
        )
        total = Cost.sum(self.cost.values())
        agreement: tuple[str | Table, ...] = (
            "no labels of yours, so nothing says how far these labels can be trusted; label some with --review",
        )
        if self.agreement:
            first = self.agreement[0]
            agreement = (
                Table(("on your labels", "F1 (95 %)", "precision", "recall", "undecided"), rows, frozenset({4})),
                f"measured on {first.labels} of your labels, {first.positives} positive, that chose nothing",
            )
        return Summary(
            f"{self.definition.name} in {self.plan['data']['name']}",
            (
                "machine labels: " + ", ".join(f"{count} {name}" for name, count in self.counts.items()),
                *(f"undecided: {count} ({why})" for why, count in self.problems.items()),
                *agreement,
                *(f"you and the annotator differ on {one.image}: {one.rationale}" for one in self.disagreements[:5]),
                f"cost: {total.captions} captions, {total.questions} questions, {total.judgements + total.texts} "
                f"requests to the language model, {total.tokens:,} tokens",
                *([self.stopped] if self.stopped else []),
            ),
            rejected=self.rejected,
            files=self.files,
            record=RECORD,
        )

    def _verdict(self) -> str:
        return ", ".join(
            f"{one.who} F1 {_cell(one, 'f1')}" for one in self.agreement if one.who in ("teacher", "student")
        ) or ", ".join(f"{count} {name}" for name, count in self.counts.items())


def _cell(one: Agreement, name: str) -> str:
    """A figure with its interval; a dash where it is missing."""
    assert name in FIGURES
    found = one.figures.get(name)
    if found is None or found.value is None:
        return "–"
    ends = "" if found.low is None or found.high is None else f" ({found.low:.2f} – {found.high:.2f})"
    return f"{found.value:.2f}{ends}"
