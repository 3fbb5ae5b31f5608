"""Pages of runs: all of them, one, its whole report, and how far it is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from snellen.core.errors import InputError
from snellen.core.finding import LEVELS
from snellen.desk.gatekeeping import POLICY
from snellen.desk.record_pages import record_page
from snellen.desk.rendering import static, style_source
from snellen.desk.requests import answer, desk_of, page, run_of
from snellen.desk.run_folder import RECORDS, RunFolder, finding_id

if TYPE_CHECKING:
    from snellen.auditing.report import AuditReport

#: Findings that the list of runs shows of each.
_SHOWN = 2

#: Names of pictures are hashes, never paths.
_HASH = re.compile("[0-9a-f]{64}")


def runs(request: Request) -> Response:
    """All runs below the folder."""
    desk = desk_of(request)
    found = [_row(run) for run in desk.workplace.runs()]
    return page(
        "runs.html.j2",
        request,
        title="Runs",
        folder=desk.workplace.folder,
        store=desk.store,
        audits=[row for row in found if row["run"].kind == "audit"],
        treatments=[row for row in found if row["run"].kind == "treatment"],
        others=[row for row in found if row["run"].kind not in ("audit", "treatment")],
        jobs=[job for job in desk.jobs.all() if job.state == "running"],
    )


def _row(run: RunFolder) -> dict[str, Any]:
    """What the list shows about one run; why, of one that cannot be read."""
    row: dict[str, Any] = {"run": run, "worst": [], "levels": [], "gate": "", "why": "", "outcomes": [], "status": ""}
    row["accuracy"], row["progress"] = None, (0, 0)
    try:
        row["status"] = run.status
        if run.kind == "treatment":
            outcomes = Counter(str(one.get("outcome")) for one in _dicts(run.treatment.get("findings")))
            return {**row, "outcomes": outcomes.most_common()}
        if run.kind != "audit":
            return row
        levels = Counter((one.level, one.shown_level) for one in run.findings)
        worst = [(finding_id(one), one) for one in run.findings[:_SHOWN]]
        row |= {
            "worst": worst,
            "levels": [(*one, levels[one]) for one in sorted(levels, key=lambda one: list(LEVELS).index(one[0]))],
            "gate": gate_words(Counter(one.whole_level for one in run.findings)),
        }
        row |= {"accuracy": _value(run, "clean.accuracy"), "progress": run.progress()}
    except InputError as error:
        row |= {"status": "unreadable", "why": str(error)}
    return row


def gate_words(levels: Counter[Any]) -> str:
    """What ``--fail-on`` would make of the findings.

    >>> gate_words(Counter({"mild": 2})), gate_words(Counter())
    ('fails --fail-on mild', 'passes --fail-on mild')
    """
    worst = next((level for level in LEVELS if levels[level]), "note")
    return f"fails --fail-on {worst}" if worst != "note" else "passes --fail-on mild"


def run(request: Request) -> Response:
    """One run: how far it is, what it found, and what can be done about it."""
    found, desk = run_of(request), desk_of(request)
    if found.kind == "treatment":
        return _treatment(request, found)
    if found.kind in RECORDS:
        return record_page(request, found)
    if found.kind != "audit":
        return page("other_run.html.j2", request, title=found.name, run=found)
    if found.status != "finished":
        return page("live_run.html.j2", request, title=found.name, run=found, **_state(found))
    from snellen.auditing.html import render_notebook

    report = _opened(found)
    decided, treatable = desk.decisions.counts(found.key), found.treatable
    rows = []
    for finding in found.findings:
        name = finding_id(finding)
        items = len(desk.queue(found, finding).items)
        treats = finding in treatable
        rows.append(
            {"id": name, "finding": finding, "images": items, "decided": decided.get(name, 0), "treats": treats}
        )
    style = static("parts.css").decode()
    return page(
        "run.html.j2",
        request,
        title=found.name,
        policy=POLICY.replace("style-src 'self'", f"style-src 'self' {style_source(style)}"),
        run=found,
        rows=rows,
        report=Markup(render_notebook(report, report.pictures())),  # noqa: S704 - escaped where it is made
        decided=sum(decided.values()),
        gallery=desk.table_or_none(found) is not None,
    )


def whole_report(request: Request) -> Response:
    """The report as one page, made anew from report.json: a page that lies in the folder is never sent."""
    found = run_of(request)
    if not found.audited:
        raise HTTPException(404, "this run has no report yet")
    text = _opened(found).html
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    allowed = policy[1].replace("&#39;", "'")
    return Response(
        text.encode("utf-8", "replace"),
        headers={"content-security-policy": f"{allowed}; frame-ancestors 'none'"},
        media_type="text/html; charset=utf-8",
    )


def _opened(found: RunFolder) -> AuditReport:
    """The report of a run.

    Raises:
        InputError: it cannot be read.
    """
    from snellen.auditing.compare.run_record import open_report

    try:
        return open_report(found.path)
    except InputError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError, OSError) as error:
        raise InputError(f"the report of {found.name} cannot be read: {error!r:.300}") from error


def state(request: Request) -> Response:
    """How far a run is, for the script of its page."""
    return answer(_state(run_of(request)))


def _state(found: RunFolder) -> dict[str, Any]:
    done, total = found.progress()
    shards = found.path / "shards"
    try:
        measured = _measured(shards, shards.stat().st_mtime_ns)
    except OSError:
        measured = _NOTHING
    return {"status": found.status, "done": done, "total": total, **measured}


_NOTHING: Mapping[str, Any] = {"images": 0, "accuracy": None, "low": None, "high": None}


@lru_cache(maxsize=8)  # read again when a shard is there that was not, and not each second
def _measured(shards: Path, _changed: int) -> Mapping[str, Any]:
    """Accuracy over the shards that are there, with its 95 % interval, as the report will have it."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from snellen.metrics.clustered import clustered_share
    from snellen.metrics.units import unit_codes

    correct: list[bool] = []
    units: list[str] = []
    for file in sorted(shards.glob("[0-9]*/clean.parquet")):
        try:
            part = pq.read_table(file, columns=["unit_id", "label", "prediction"], memory_map=False)
            labelled = part.filter(pc.greater_equal(part["label"], 0))
            right = pc.fill_null(pc.equal(labelled["label"], labelled["prediction"]), False).to_pylist()
            names = pc.fill_null(labelled["unit_id"], "").to_pylist()
        except (OSError, KeyError, pa.ArrowException, ValueError):
            continue  # of another kind
        correct += right
        units += names
    if not correct:
        return _NOTHING
    low, high = clustered_share(correct, None if len(set(units)) == len(units) else unit_codes(units))
    return {"images": len(correct), "accuracy": sum(correct) / len(correct), "low": low, "high": high}


def _treatment(request: Request, found: RunFolder) -> Response:
    record = found.treatment
    cost = record.get("cost")
    return page(
        "treatment.html.j2",
        request,
        title=found.name,
        run=found,
        findings=_dicts(record.get("findings")),
        cost=cost if isinstance(cost, dict) else None,
        tried=[str(one) for one in record.get("tried") or ()],
        notes=[str(one) for one in record.get("notes") or ()],
    )


def picture(request: Request) -> Response:
    """A picture of the report: before, after, a trigger, a viewpoint."""
    name = request.path_params["name"]
    if not _HASH.fullmatch(name):
        raise HTTPException(404, "there is no such picture")
    file = run_of(request).path / "blobs" / name
    try:
        if file.is_symlink() or file.stat().st_size > 2**24:
            raise HTTPException(404, "there is no such picture")
        content = file.read_bytes()
    except OSError:
        raise HTTPException(404, "there is no such picture") from None
    if content[:4] != b"RIFF" or content[8:12] != b"WEBP":
        raise HTTPException(404, "this file of the run is no picture")
    return Response(content, headers={"cache-control": "private, max-age=86400"}, media_type="image/webp")


def _value(found: RunFolder, name: str) -> float | None:
    metrics = found.report.get("metrics")
    figure = metrics.get(name) if isinstance(metrics, dict) else None
    value = figure.get("value") if isinstance(figure, dict) else None
    return float(value) if isinstance(value, int | float) else None


def _dicts(found: object) -> list[dict[str, Any]]:
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
