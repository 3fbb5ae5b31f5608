"""Pages of runs of other verbs: what their record says, as the terminal shows it, and the record itself."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from snellen.core.errors import SnellenError
from snellen.desk.requests import page
from snellen.desk.run_folder import RunFolder
from snellen.runs.record import RunResult, Summary, Table

#: What reads the record of a kind, and says what a terminal shows of it.
READERS: Mapping[str, str] = {
    "attack": "snellen.verbs.attacked_set:AttackedSet",
    "explanation": "snellen.verbs.explained_set:ExplainedSet",
    "scan": "snellen.verbs.scanned_set:ScannedSet",
    "certificates": "snellen.verbs.certified_set:CertifiedSet",
    "forgetting": "snellen.verbs.forgotten_set:ForgottenSet",
    "shift": "snellen.verbs.shifted_set:ShiftedSet",
    "generation": "snellen.verbs.generated_set:GeneratedSet",
    "synthesis": "snellen.methods.synthesis.synthetic_set:SyntheticSet",
}

#: Rows of the record that are shown, levels that are entered, and characters of a value.
_ROWS, _LEVELS, _LONGEST = 1_000, 6, 400


@dataclass(frozen=True)
class Section:
    """A part of a page: a line, or a table.

    Attributes:
        line: words; empty for a table.
        table: heads, rows, and which columns hold numbers.
    """

    line: str = ""
    table: Table | None = None


def record_page(request: Request, run: RunFolder) -> Response:
    """What one record says.

    Raises:
        InputError: it cannot be read.
    """
    record = run.record
    found = summary_of(run)
    sections: list[Section] = []
    if found is not None:
        sections = [Section(table=one) if isinstance(one, Table) else Section(line=one.strip()) for one in found.parts]
    rows = list(_flat(record))
    return page(
        "record.html.j2",
        request,
        title=run.name,
        run=run,
        heading="" if found is None else found.heading,
        sections=[one for one in sections if one.line or one.table],
        rejected=() if found is None else found.rejected,
        files=[str(one) for one in record.get("files") or ()] if isinstance(record.get("files"), list) else [],
        rows=rows[:_ROWS],
        more=len(rows) - _ROWS,
        whole=found is None,
    )


def summary_of(run: RunFolder) -> Summary | None:
    """What a terminal shows of the record; None where no reader knows it, or it is not as that writes it."""
    target = READERS.get(run.kind)
    if target is None or not run.record:
        return None
    module, _, name = target.partition(":")
    reader: type[RunResult] = getattr(importlib.import_module(module), name)
    try:
        return reader.model_validate(dict(run.record)).model_copy(update={"folder": run.path}).summary()
    except (
        ValidationError,
        SnellenError,
        LookupError,
        TypeError,
        AttributeError,
        ValueError,
        ArithmeticError,
        OSError,
    ):
        return None  # the page then shows all of the record


def _flat(value: object, name: str = "", level: int = 0) -> Iterator[tuple[str, str]]:
    """Names and values of a record, each a row; what is nested too deeply is one value.

    >>> list(_flat({"a": {"b": 1, "c": [2, 3]}, "d": None}))
    [('a.b', '1'), ('a.c', '2, 3'), ('d', '–')]
    """
    if isinstance(value, dict) and level < _LEVELS and value:
        for key, member in value.items():
            yield from _flat(member, f"{name}.{key}" if name else str(key), level + 1)
    elif isinstance(value, list) and level < _LEVELS and any(isinstance(one, dict | list) for one in value):
        for place, member in enumerate(value, start=1):
            yield from _flat(member, f"{name}.{place}", level + 1)
    else:
        yield name, _words(value)


def _words(value: Any) -> str:  # noqa: ANN401 - what JSON holds
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = ", ".join(map(str, value[:50])) if isinstance(value, list) else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
