"""What each figure of an audit is, as docs/metrics.md has it; ``write_tables.py metrics`` writes it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from snellen.auditing.compare.better_side import direction
from snellen.auditing.figure_meanings import Better, Meaning, interval_kinds, meanings
from snellen.core import index
from snellen.reproduction.shared.documents import Tables

#: Titles of figures that no check gives.
BESIDE = {"findings": "For requirements: `findings`", "acuity": "For requirements: `acuity`", "class": "In comparisons"}

WORDS: dict[Better, str] = {"more": "More is better", "less": "Less is better", "neither": "Neither side is better"}


def figure_pages() -> str:
    """A part for each check, a section for each of its figures."""
    return "\n".join(_lines()).strip()


def _lines() -> Iterator[str]:
    for check, found in groupby(meanings().values(), key=lambda one: one.check):
        yield f"## {BESIDE.get(check, f'`{check}`')}\n"
        if check in index.checks():
            summary = index.checks()[check].load().summary
            yield f"The check `{check}`: {summary}.\n"
        for one in found:
            yield from _section(one)


def _section(one: Meaning) -> Iterator[str]:
    yield f"### `{one.name}`\n"
    yield f"{one.meaning}\n"
    yield f"- Formula: {_plain(one.formula)}"
    yield f"- Unit: {one.unit}. Range: {one.range}. {_better(one)}."
    kind = interval_kinds()[one.interval]
    of = f"; {one.source}" if one.source else ""
    yield f"- Interval: [{_inside(kind.title)}](#intervals). Code: `{one.function}`{of}\n"


def _better(one: Meaning) -> str:
    watched = one.better != "neither" and not direction(one.name) and one.check not in BESIDE
    return WORDS[one.better] + "; `snellen compare` shows it and does not judge it" * watched


def _plain(formula: str) -> str:
    """Signs that Markdown would take for its own."""
    return formula.replace("|", "\\|").replace("*", "\\*").replace("_", "\\_").replace("[", "\\[").replace("]", "\\]")


def _inside(title: str) -> str:
    """A title within a sentence; a name such as F1 keeps its capital."""
    return title[0].lower() + title[1:] if title[1:2].islower() else title


def interval_list() -> str:
    """How intervals are made, an item for each kind; a table with names of functions would be too wide."""
    return "\n".join(
        f"- **{kind.title}.** {kind.text}"
        + (f" Code: `{kind.function}`." if kind.function else "")
        + (f" Source: {kind.source}." if kind.source else "")
        for kind in interval_kinds().values()
    )


def _figures(root: Path) -> str:
    return figure_pages()


def _intervals(root: Path) -> str:
    return interval_list()


TABLES: Tables = {"docs/metrics.md": {"intervals": _intervals, "metrics": _figures}}
