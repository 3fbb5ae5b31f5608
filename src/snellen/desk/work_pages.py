"""Pages that start work: an audit, a treatment, and the jobs that run. Two runs beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from snellen.core.budget import time_words
from snellen.core.errors import InputError
from snellen.desk.commands import EFFORTS, audit_command, treat_command
from snellen.desk.export import shell_line
from snellen.desk.image_pages import MOST_ROWS, rows_of
from snellen.desk.jobs import Job
from snellen.desk.requests import answer, desk_of, fields_of, page, run_of, whole_number
from snellen.desk.run_folder import RunFolder

Fields = Mapping[str, Sequence[str]]

#: Which of the images of two runs are shown.
COMPARED = {
    "": "all",
    "lost": "right in the first, wrong in the second",
    "won": "wrong in the first, right in the second",
    "wrong": "wrong in both",
    "differ": "decided in another way",
}


def new_job(request: Request) -> Response:
    """The form of an audit."""
    given = {key: value for key, value in request.query_params.items() if key in ("model", "data", "train")}
    return page(
        "new_job.html.j2",
        request,
        title="New audit",
        efforts=EFFORTS,
        given=given,
        folder=desk_of(request).workplace.place,
    )


async def command(request: Request) -> Response:
    """The command that a form means, for the script of the page."""
    fields = await fields_of(request)

    def read() -> Response:
        try:
            return answer({"line": shell_line(_words(request, fields)[0]), "problem": ""})
        except InputError as error:  # half a form is no error yet
            return answer({"line": "", "problem": str(error)})

    return await run_in_threadpool(read)


async def start(request: Request) -> Response:
    """Start what a form describes, and lead to its page."""
    fields = await fields_of(request)

    def started() -> Response:
        words, out = _words(request, fields)
        return RedirectResponse(f"/jobs/{desk_of(request).jobs.start(words, out).id}", 303)

    return await run_in_threadpool(started)


def _words(request: Request, fields: Fields) -> tuple[list[str], Any]:
    desk = desk_of(request)
    only = (fields.get("only") or [""])[0] == "plan"
    if not fields.get("run"):
        return audit_command(fields, desk.workplace.place, dry=only)
    run = desk.workplace.run(fields["run"][0])
    if run is None or not run.audited:
        raise InputError("there is no such finished audit in this folder")
    return treat_command(fields, run, desk.workplace.place, plan=only)


def treat(request: Request) -> Response:
    """The form of a treatment."""
    run, desk = run_of(request), desk_of(request)
    if not run.audited:
        raise HTTPException(404, "only a finished audit can be treated")
    given = {key: value for key, value in request.query_params.items() if key in ("train", "table", "finding")}
    treated = [
        one
        for one in desk.workplace.runs()
        if one.kind == "treatment" and one.path.name.startswith(f"{run.path.name}-treated")
    ]
    return page(
        "treat.html.j2",
        request,
        title=f"Treat {run.name}",
        run=run,
        findings=[one for one in run.treatable if one.level != "note"],
        notes=[one for one in run.treatable if one.level == "note"],
        trained=bool({"train", *(["val"] if run.several else [])} & set(run.plan.get("companions") or {})),
        given=given,
        treated=treated,
    )


def jobs(request: Request) -> Response:
    """The jobs that this desk started."""
    return page("jobs.html.j2", request, title="Jobs", jobs=desk_of(request).jobs.all())


def job(request: Request) -> Response:
    """One job: the command, what it prints, and how far it is."""
    found = _job(request)
    return page("job.html.j2", request, title=f"Job: snellen {found.words[1]}", job=found, **_state(request, found))


def job_state(request: Request) -> Response:
    """How far a job is, for the script of its page."""
    return answer(_state(request, _job(request)))


def stop(request: Request) -> Response:
    """Stop a job; the same command resumes it."""
    found = _job(request)
    found.stop()
    return RedirectResponse(f"/jobs/{found.id}", 303)


def _job(request: Request) -> Job:
    found = desk_of(request).jobs.get(request.path_params["job"])
    if found is None:
        raise HTTPException(404, "there is no such job; jobs of an earlier start are forgotten, and their runs are not")
    return found


def _state(request: Request, found: Job) -> dict[str, Any]:
    run = None
    if found.out is not None:
        run = next((one for one in desk_of(request).workplace.runs() if one.path == found.out), None)
    done, total = (0, 0) if run is None or run.kind != "audit" else run.progress()
    return {
        "state": found.state,
        "code": found.code,
        "took": time_words(found.seconds),
        "output": found.output(),
        "run_id": None if run is None else run.id,
        "done": done,
        "total": total,
    }


def compare(request: Request) -> Response:
    """Two runs: the same images side by side."""
    desk = desk_of(request)
    audits = [one for one in desk.workplace.runs() if one.kind == "audit" and desk.table_or_none(one) is not None]
    first, second = (_chosen(request, name, audits) for name in ("first", "second"))
    counts = None
    if first is not None and second is not None:
        counts = {name: len(_compared(request, first, second, name)[0]) for name in COMPARED}
    return page(
        "compare.html.j2",
        request,
        title="Compare two runs",
        audits=audits,
        first=first,
        second=second,
        counts=counts,
        which=COMPARED,
        chosen=request.query_params.get("which", ""),
        other_images=first is not None and second is not None and first.contents != second.contents,
    )


def compared_rows(request: Request) -> Response:
    """Images that both runs hold, from an offset on, for the script of the page."""
    audits = [one for one in desk_of(request).workplace.runs() if one.kind == "audit"]
    first, second = (_chosen(request, name, audits) for name in ("first", "second"))
    if first is None or second is None:
        raise InputError("name two runs: first and second")
    which = request.query_params.get("which", "")
    if which not in COMPARED:
        raise InputError(f"which {which[:40]!r}: expected one of {', '.join(one for one in COMPARED if one)}")
    offset, limit = whole_number(request, "offset", 0), min(whole_number(request, "limit", 100), MOST_ROWS)
    a, b = _compared(request, first, second, which)
    one, other = desk_of(request).table(first), desk_of(request).table(second)
    sides = (
        rows_of(table, rows[offset : offset + limit].tolist(), run.class_names)
        for table, rows, run in ((one, a, first), (other, b, second))
    )
    shown = [{"first": x, "second": y} for x, y in zip(*sides, strict=True)]
    return answer({"total": len(a), "offset": offset, "rows": shown, "why": desk_of(request).pictures.why_not(first)})


def _chosen(request: Request, name: str, audits: Sequence[RunFolder]) -> RunFolder | None:
    wanted = request.query_params.get(name, "")
    return next((one for one in audits if one.id == wanted), None)


def _compared(request: Request, first: RunFolder, second: RunFolder, which: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of both runs of the images that they share."""
    one, other = desk_of(request).table(first), desk_of(request).table(second)
    found = pc.index_in(other.ids, value_set=one.ids.combine_chunks())
    b = np.flatnonzero(pc.is_valid(found).to_numpy(zero_copy_only=False))
    a = pc.drop_null(found).to_numpy().astype(np.int64)
    order = np.argsort(a, kind="stable")
    a, b = a[order], b[order]
    known = (one.labels[a] >= 0) & (other.labels[b] >= 0)  # without a label nothing is right or wrong
    right, still = one.labels[a] == one.predictions[a], other.labels[b] == other.predictions[b]
    names, others = np.array([*first.class_names, ""]), np.array([*second.class_names, ""])
    kept = {
        "": np.ones(len(a), dtype=bool),
        "lost": known & right & ~still,
        "won": known & ~right & still,
        "wrong": known & ~right & ~still,
        "differ": _named(names, one.predictions[a]) != _named(others, other.predictions[b]),
    }[which]
    return a[kept], b[kept]


def _named(names: np.ndarray, indices: np.ndarray) -> np.ndarray:
    known = (indices >= 0) & (indices < len(names) - 1)
    return names[np.where(known, indices, len(names) - 1)]
