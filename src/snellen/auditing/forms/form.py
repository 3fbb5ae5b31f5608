"""A form: numbered items, what an audit answers of each, and what is left to the author."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from snellen.auditing.markdown import plain
from snellen.core.errors import unknown_name

if TYPE_CHECKING:
    from snellen.auditing.report import AuditReport

#: What stands where nobody but the author knows the answer, and where the audit did not measure it.
FOR_THE_AUTHOR, NOT_MEASURED = "For the author to fill in", "Not measured"

#: The module of each form, by its name.
FORMS = {
    "model-card": "snellen.auditing.forms.model_card",
    "tripod-ai": "snellen.auditing.forms.tripod_ai",
    "claim": "snellen.auditing.forms.claim",
}


@dataclass(frozen=True)
class Answer:
    """What an audit says about an item.

    Attributes:
        lines: in words; names from data are escaped when they are written.
        measured: whether it was measured; else the lines say why not.
    """

    lines: tuple[str, ...]
    measured: bool = True


Source: TypeAlias = "Callable[[AuditReport], Answer]"


@dataclass(frozen=True)
class Item:
    """An item of a form, in our own words.

    Attributes:
        number: in the published list.
        topic: what it is about.
        sources: what the audit answers of it; none: it is the author's.
        author: what the audit cannot know, and the author adds; empty where the audit answers all.
    """

    number: str
    topic: str
    sources: tuple[Source, ...] = ()
    author: str = ""


@dataclass(frozen=True)
class Form:
    """A published list of items.

    Attributes:
        name: of the document.
        citation: where the list was published.
        sections: headings with their items.
        head: what stands before the title, such as the front matter of a model hub.
    """

    name: str
    citation: str
    sections: tuple[tuple[str, tuple[Item, ...]], ...]
    head: Callable[[AuditReport], str] | None = None

    @property
    def items(self) -> tuple[Item, ...]:
        """All items, in order."""
        return tuple(item for _, items in self.sections for item in items)


@dataclass(frozen=True)
class Filled:
    """A form with what an audit answers.

    Attributes:
        form: the list.
        model: name of the audited model; data.
        answers: of each item, by its number.
        head: what stands before the title; empty where nothing does.
    """

    form: Form
    model: str
    answers: Mapping[str, tuple[Answer, ...]]
    head: str = ""

    @property
    def answered(self) -> int:
        """How many items hold what was measured or recorded."""
        return sum(any(one.measured for one in found) for found in self.answers.values())

    @property
    def introduction(self) -> str:
        """How the document is read, without the citation that ends it."""
        return (
            f"Filled in from an audit by Snellen: {self.answered} of {len(self.form.items)} items hold what it "
            f"measured or recorded. “{NOT_MEASURED}” says what the audit left out, and why. “{FOR_THE_AUTHOR}” is "
            "what no audit can know. Items are in Snellen's words; the published wording decides:"
        )


def form_named(name: str) -> Form:
    """The form of a name in :data:`FORMS`.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in FORMS:
        raise unknown_name("form", name, FORMS)
    found: Form = importlib.import_module(FORMS[name]).FORM
    return found


def fill(report: AuditReport, form: Form) -> Filled:
    """The form with what an audit measured. Nothing is made up.

    Args:
        report: of the audit.
        form: which.
    """
    return Filled(
        form,
        str(report.model["name"]),
        {item.number: tuple(source(report) for source in item.sources) for item in form.items},
        form.head(report) if form.head else "",
    )


def as_markdown(filled: Filled) -> str:
    """The form as Markdown: what was not measured says so, and so does what the author must add."""
    form = filled.form
    lines = [
        *([filled.head, ""] if filled.head else []),
        f"# {form.name}: {plain(filled.model)}",
        "",
        f"{filled.introduction} {form.citation}",
        "",
    ]
    for heading, items in form.sections:
        lines += [f"## {heading}", ""]
        for item in items:
            lines += [f"### {item.number}. {item.topic}", "", *_body(item, filled.answers[item.number])]
    return "\n".join(lines).rstrip() + "\n"


def _body(item: Item, answers: Sequence[Answer]) -> list[str]:
    lines: list[str] = []
    for answer in answers:
        before = "- " if answer.measured else f"- *{NOT_MEASURED}*: "
        lines += [before + plain(line) for line in answer.lines]
    if item.author or not item.sources:
        lines.append(f"- *{FOR_THE_AUTHOR}*{f': {item.author}' if item.author else ''}.")
    return [*lines, ""]
