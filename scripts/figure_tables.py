"""What each figure of an audit is, as docs/metrics.md has it; ``write_tables.py metrics`` writes it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from snellen.auditing.compare.better_side import direction
from snellen.auditing.figure_meanings import Better, Meaning, interval_kinds, meanings
from snellen.core import index
from snellen.reproduction.shared.documents import Tables, markdown_table

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
    yield f"- Interval: [{kind.title[0].lower() + kind.title[1:]}](#intervals). Code: `{one.function}`{of}\n"


def _better(one: Meaning) -> str:
    watched = one.better != "neither" and not direction(one.name) and one.check not in BESIDE
    return WORDS[one.better] + "; `snellen compare` shows it and does not judge it" * watched


def _plain(formula: str) -> str:
    """Signs that Markdown would take for its own."""
    return formula.replace("|", "\\|").replace("*", "\\*").replace("_", "\\_").replace("[", "\\[").replace("]", "\\]")


def interval_table() -> str:
    """How intervals are made, one row for each kind."""
    rows = [
        [kind.title, kind.text, "" if kind.function is None else f"`{kind.function}`", kind.source or ""]
        for kind in interval_kinds().values()
    ]
    return markdown_table(["interval of", "how it is made", "code", "source"], rows, ["---"] * 4)


def _figures(root: Path) -> str:
    return figure_pages()


def _intervals(root: Path) -> str:
    return interval_table()


TABLES: Tables = {"docs/metrics.md": {"intervals": _intervals, "metrics": _figures}}
