"""The record of a searched set of prompts: what ``forget-prompts.json`` holds, and its page."""

from __future__ import annotations

import base64
import hashlib
from typing import ClassVar

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from pydantic import BaseModel, ConfigDict

from snellen.core import package
from snellen.runs.record import Figure, RunResult, Summary, Table
from snellen.version import __version__

RECORD, PAGE = "forget-prompts.json", "forget-prompts.html"

#: The prompts of the set, as a table that the command reads, and the weights of all steps.
PROMPTS, WEIGHTS = "forget-prompts.csv", "selection.safetensors"

#: How messages call it.
WHAT = "forget set of prompts"

#: Networks beside a set.
AS_IT_WAS, ERASED, RETRAINED = "as it was", "erased", "retrained without them"

#: What no row of the record shows.
NOT_TESTED = (
    "Other words for the same concepts, and prompts that were searched to bring them back.",
    "Adapters, and other generators that were trained from this one.",
    "Pictures that the generator was trained on: those of the search and of the retraining are its own.",
)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PromptRow(_Part):
    """A generator beside a set of prompts, measured with pictures and noise that no search or erasing has seen.

    Attributes:
        forget_set: ``worst-case``, ``easiest``, ``without search``, ``random 1`` …
        network: ``as it was``, ``erased``, or ``retrained without them``.
        erasing: mean erasing loss of the set.
        left: that loss divided by the loss of the generator as it was; None where that was 0.
        denoising: mean denoising loss of pictures of the set.
        others_denoising: the same of all other prompts.
        recognised: share of generated pictures of the set in which the judge sees the concept; None without a judge.
        others_recognised: the same of as many other prompts.
    """

    forget_set: str
    network: str
    erasing: float
    left: float | None
    denoising: float
    others_denoising: float
    recognised: Figure | None = None
    others_recognised: Figure | None = None


class ChosenPrompt(_Part):
    """A prompt of the searched set.

    Attributes:
        prompt: its text.
        concept: what it names.
        before: its erasing loss, of the generator as it was.
        after: the same of the erased one.
    """

    prompt: str
    concept: str | None
    before: float
    after: float


class ForgottenPrompts(RunResult):
    """The prompts that are hardest to erase, and an erasing of them beside random sets of as many prompts.

    Attributes:
        chosen: prompts of the searched set.
        moved: share of the weight of the selection that the search moved; below 0.1 it hardly moved.
        losses: mean loss of the set after erasing, at each step of the search.
        rows: every generator beside every set.
        notes: warnings, in words.
        not_tested: what the figures say nothing about.
    """

    file: ClassVar[str] = RECORD

    chosen: tuple[ChosenPrompt, ...] = ()
    moved: float = 0.0
    losses: tuple[float, ...] = ()
    rows: tuple[PromptRow, ...] = ()
    notes: tuple[str, ...] = ()
    not_tested: tuple[str, ...] = NOT_TESTED

    def row(self, forget_set: str, network: str = ERASED) -> PromptRow:
        """The row of a generator beside a set."""
        return next(one for one in self.rows if (one.forget_set, one.network) == (forget_set, network))

    @property
    def searched(self) -> str:
        """Name of the searched set."""
        return self.rows[0].forget_set

    @property
    def verdict(self) -> str:
        """How the searched set compares with random ones, in a sentence or two."""
        own = self.row(self.searched)
        random = [one for one in self.rows if one.network == ERASED and one.forget_set.startswith("random")]
        above = sum(one.erasing < own.erasing for one in random)
        text = (
            f"After erasing, the erasing loss of the {self.searched} set is {own.erasing:.4f}, higher than that of "
            f"{above} of {len(random)} random sets."
        )
        left = [one.left for one in random if one.left is not None]
        if own.left is not None and left:
            mean = sum(left) / len(left)
            text += f" That is {own.left:.0%} of what it was before, and {mean:.0%} on random sets."
        if own.recognised is not None:
            text += f" The judge still sees the concept in {own.recognised.value:.0%} of its pictures."
        return text

    def summary(self) -> Summary:
        """The prompts of the set, generators beside sets, and warnings."""
        head = ("network", "forget set", "erasing loss", "left %", "denoising", "others'", "seen %", "others seen %")
        cells = tuple(
            (
                one.network,
                one.forget_set,
                f"{one.erasing:.4f}",
                "–" if one.left is None else f"{100 * one.left:.0f}",
                f"{one.denoising:.4f}",
                f"{one.others_denoising:.4f}",
                shown(one.recognised),
                shown(one.others_recognised),
            )
            for one in self.rows
        )
        listed = [f"- {one.prompt}" + (f" ({one.concept})" if one.concept else "") for one in self.chosen]
        parts: tuple[str | Table, ...] = (Table(head, cells, frozenset(range(2, 8))), "", self.verdict)
        parts = (*parts, f"The {self.searched} set:", *listed, *self.notes)
        not_tested = ("Not tested:", *(f"- {one}" for one in self.not_tested))
        heading = f"{self.plan['model']['name']}: {len(self.chosen)} prompts to erase"
        return Summary(heading, (*parts, *not_tested), files=self.files, record=RECORD)

    def _verdict(self) -> str:
        return f"{len(self.chosen)} prompts, {len(self.rows)} networks judged"


def shown(figure: Figure | None) -> str:
    """A share and its interval, in percent."""
    if figure is None or figure.value is None or figure.low is None or figure.high is None:
        return "–"
    return f"{100 * figure.value:.0f} ({100 * figure.low:.0f} – {100 * figure.high:.0f})"


def render(made: ForgottenPrompts) -> str:
    """Render the page; every text in it is data and is escaped."""
    style = "".join(map(package.text, ("auditing/templates/parts.css", "verbs/templates/treated.css")))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(package.text("verbs/templates/forgotten_prompts.html.j2"))
    return template.render(
        made=made,
        shown=shown,
        name=made.plan["model"]["name"],
        version=__version__,
        style=Markup(style),  # noqa: S704 - our own file
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
    )
