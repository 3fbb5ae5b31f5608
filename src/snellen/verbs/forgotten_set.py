"""The record of unlearning: what ``forget.json`` holds."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from snellen.core.classifier import Classifier
from snellen.methods.forgetting.judging import Judgement
from snellen.runs.record import Figure, RunResult, Summary, Table

RECORD, PAGE = "forget.json", "forget.html"

#: How messages call it.
WHAT = "certificate of forgetting"

#: The classifier as it was, and exact retraining.
AS_IT_WAS, RETRAINED = "as it was", "retrained without them"

#: What a certificate does not show, unless shadow models were trained, and unless the network was fine-tuned again.
_ATTACKS = "Attacks that train shadow models (LiRA): the attack here reads the probability of the true class alone."
_RELEARNING = "Whether fine-tuning with other images brings the forgotten ones back."

#: What no certificate shows.
_NEVER = (
    "Other copies of the images, and other models that were trained on them.",
    "What the weights reveal to someone who reads them: only decisions and probabilities were attacked.",
)


def not_tested(*, shadows: bool, relearning: bool) -> tuple[str, ...]:
    """What the figures say nothing about, in words.

    Args:
        shadows: whether shadow models were trained.
        relearning: whether the network was fine-tuned again.
    """
    open_questions = ((_ATTACKS, shadows), (_RELEARNING, relearning))
    return (*(text for text, tested in open_questions if not tested), *_NEVER)


class ForgottenRow(BaseModel):
    """A network beside the forget set, or beside a random set of as many images.

    Attributes:
        network: ``as it was``, the name of the method, or ``retrained without them``.
        forget_set: ``yours``, or ``random 1`` …
        figures: of the network beside that set.
        gap: mean absolute difference to retraining without your set; None where it was not run.
        likelihood: how well forget and test images are distinguished by an attack with shadow models; 0.5: not at all;
            None where it was not run.
        relearned: figures behind each pass of fine-tuning with other images, of your set; empty where it was not run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: str
    forget_set: str
    figures: Judgement
    gap: float | None = None
    likelihood: Figure | None = None
    relearned: tuple[Judgement, ...] = ()


#: Columns in a terminal: UA, MIA, RA and TA of the papers, in words.
_HEAD = ("network", "forget set", "forgotten %", "non-members %", "remaining right %", "test right %", "gap %")

#: Head of a further column, where shadow models were trained.
_ATTACK = "area by shadow models"


class ForgottenSet(RunResult):
    """A classifier that forgot images, and how well it did. Holds no clock reading: equal inputs give equal bytes.

    Attributes:
        plan: model, data, forget set, method, seed, machine, versions.
        count: images of the forget set.
        ids: of these.
        classes: images of each class among them.
        rows: networks beside sets.
        reference: by which :func:`snellen.load_classifier` loads the classifier, relative to the folder; None where no
            form could be written.
        notes: warnings, in words.
        not_tested: what the figures say nothing about.
    """

    file: ClassVar[str] = RECORD

    count: int = 0
    ids: tuple[str, ...] = ()
    classes: dict[str, int] = {}
    rows: tuple[ForgottenRow, ...] = ()
    reference: str | None = None
    notes: tuple[str, ...] = ()
    not_tested: tuple[str, ...] = ()

    @property
    def method(self) -> dict[str, Any]:
        """The method and its parameters."""
        found: dict[str, Any] = self.plan["settings"][0]
        return found

    def row(self, network: str, forget_set: str = "yours") -> ForgottenRow | None:
        """The row of a network beside a set; None where it was not run."""
        rows = (one for one in self.rows if (one.network, one.forget_set) == (network, forget_set))
        return next(rows, None)

    def load(self) -> Classifier:
        """The classifier that forgot.

        Raises:
            InputError: nothing was kept: name a folder with ``out``.
        """
        from snellen.core.errors import InputError
        from snellen.models.classifiers.references import load_classifier

        if self.folder is None or self.reference is None:
            raise InputError("no classifier was kept; name a folder with out=...")
        scheme, _, rest = self.reference.partition(":")
        return load_classifier(f"{scheme}:{self.folder / rest}")

    def summary(self) -> Summary:
        """Networks beside sets, warnings, and what was not tested."""
        attacked = any(one.likelihood is not None for one in self.rows)
        rows = tuple(
            (
                one.network,
                one.forget_set,
                *(_shown(one.figures, name) for name in ("unlearning", "membership", "remaining", "test")),
                "–" if one.gap is None else f"{100 * one.gap:.1f}",
                *([_area(one.likelihood)] if attacked else []),
            )
            for one in self.rows
        )
        head = (*_HEAD, _ATTACK) if attacked else _HEAD
        table = Table(head, rows, frozenset(range(2, len(head))))
        return Summary(
            f"{self.plan['model']['name']}: {self.method['method']} on {self.count} images to forget",
            (table, "", *self._relearning(), *self.notes, "Not tested:", *(f"- {one}" for one in self.not_tested)),
            files=self.files,
            record=RECORD,
        )

    @property
    def course(self) -> tuple[tuple[ForgottenRow, int, Judgement], ...]:
        """Networks that were fine-tuned with other images: row, passes from 0, figures."""
        return tuple(
            (row, number, figures)
            for row in self.rows
            if row.relearned
            for number, figures in enumerate((row.figures, *row.relearned))
        )

    def _relearning(self) -> tuple[str | Table, ...]:
        """What fine-tuning with other images brings back."""
        rows = tuple(
            (row.network, str(number), *(_shown(figures, name) for name in ("unlearning", "membership", "test")))
            for row, number, figures in self.course
        )
        head = ("network", "passes", "forgotten %", "non-members %", "test right %")
        return ("After fine-tuning with other images:", Table(head, rows, frozenset(range(1, 5))), "") if rows else ()

    def _verdict(self) -> str:
        return f"{self.method['method']} on {self.count} images to forget"


def _area(found: Figure | None) -> str:
    return "–" if found is None else f"{found.value:.2f} ({found.low:.2f} – {found.high:.2f})"


def _shown(figures: Judgement, name: str) -> str:
    """A share and its interval, in percent."""
    found = getattr(figures, name)
    return f"{100 * found.value:.1f} ({100 * found.low:.1f} – {100 * found.high:.1f})"
