"""The page of requirements: written ones against audited models, each verdict linked to its run and its figure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from snellen.core.errors import InputError
from snellen.desk.export import shell_line
from snellen.desk.requests import desk_of, page
from snellen.desk.run_folder import RunFolder

if TYPE_CHECKING:
    from snellen.auditing.compare.requirements_table import RequirementsTable

#: Models that are shown at first, and at most.
_FIRST, _MOST = 8, 40

#: The name at which a relation begins.
_NAME = re.compile(r"[^\s<>=]+")


def requirements(request: Request) -> Response:
    """Models by requirements: met, not met, or undecided."""
    desk = desk_of(request)
    files = {file_id(one): one for one in desk.workplace.requirements()}
    audits = desk.workplace.audits()
    wanted = request.query_params.get("file", "")
    chosen = files.get(wanted) or next(iter(files.values()), None)
    named = set(request.query_params.getlist("run"))
    runs = [one for one in audits if one.id in named][:_MOST] or latest(audits)[:_FIRST]
    table, problem, line = Markup(""), "", ""
    if chosen is not None and runs:
        line = shell_line(["snellen", "requirements", str(chosen), *(str(one.path) for one in runs)])
        try:
            table = _rendered(
                _judged(chosen, chosen.stat().st_mtime_ns, tuple((one.path, one.changed) for one in runs)), runs
            )
        except (InputError, OSError) as error:
            problem = str(error)
    return page(
        "requirements.html.j2",
        request,
        title="Requirements",
        files=files,
        chosen=chosen,
        audits=audits,
        shown={one.id for one in runs},
        table=table,
        problem=problem,
        line=line,
        places=dict.fromkeys((desk.workplace.place, desk.workplace.place.parent)),
    )


def file_id(file: Path) -> str:
    """Name of a file in addresses: no path, so that no address leads to a file."""
    return hashlib.sha256(str(file).encode("utf-8", "surrogateescape")).hexdigest()[:12]


def latest(audits: Sequence[RunFolder]) -> list[RunFolder]:
    """The latest audit of each classifier on each set of images, from a list with the latest first."""
    found: dict[tuple[str, str], RunFolder] = {}
    for one in audits:
        found.setdefault((one.identity or one.id, one.fingerprint), one)
    return list(found.values())


@lru_cache(maxsize=8)  # a comparison with a baseline takes seconds
def _judged(file: Path, _changed: int, runs: tuple[tuple[Path, float], ...]) -> RequirementsTable:
    from snellen.auditing.compare.requirements_table import requirements as judge

    try:
        return judge(file, [path for path, _ in runs])
    except InputError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:  # of a damaged run
        raise InputError(f"these runs cannot be judged: {error!r:.300}") from error


def _rendered(found: RequirementsTable, runs: Sequence[RunFolder]) -> Markup:
    from snellen.auditing.compare.requirements_page import render_linked

    def model_address(place: int) -> str:
        return f"/runs/{runs[place].id}"

    def cell_address(row: int, place: int) -> str:
        return figure_address(runs[place], found.rows[row].metric)

    return Markup(render_linked(found, model_address, cell_address))  # noqa: S704 - escaped where it is made


def figure_address(run: RunFolder, relation: str) -> str:
    """Where the figure of a relation stands: in the whole report, or among the findings of the run."""
    begin = _NAME.match(relation.strip())
    name = "" if begin is None else begin[0]
    names = list(run.report.get("metrics") or ())
    for one in (name, name.removesuffix(".value")):
        if one in names:
            return f"/runs/{run.id}/report#figure-{names.index(one) + 1}"
    return f"/runs/{run.id}" if name.startswith("findings.") else f"/runs/{run.id}/report"
