"""The review: one queue for each finding that has images, decisions, and what they come to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from snellen.core.errors import InputError
from snellen.desk.again import CannotSayError, audit_options
from snellen.desk.agreement import agreements, settled
from snellen.desk.decisions import reviewers_of
from snellen.desk.export import (
    Reference,
    Table,
    audit_words,
    decided_place,
    decided_table,
    free_folder,
    reference_of,
    shell_line,
    treat_words,
    write_table,
)
from snellen.desk.queues import CHOICES, MEANINGS, Item, Queue
from snellen.desk.requests import answer, desk_of, fields_of, finding_of, page, run_of, whole_number
from snellen.desk.run_folder import RunFolder, finding_id

#: Items of one answer.
MOST_ITEMS = 200


def review(request: Request) -> Response:
    """The page on which a person decides."""
    run = run_of(request)
    finding = finding_of(request, run)
    queue = desk_of(request).queue(run, finding)
    if not queue.items:
        return RedirectResponse(f"/runs/{run.id}#finding-{finding_id(finding)}", 303)
    return page(
        "review.html.j2",
        request,
        title=f"Review: {finding.kind.replace('_', ' ')}",
        run=run,
        finding=finding,
        name=finding_id(finding),
        form=queue.form,
        total=len(queue.items),
        choices=[(one, MEANINGS[one]) for one in CHOICES[queue.form] if one != "relabel" or queue.classes(run)],
        classes=queue.classes(run),
        reviewers=reviewers_of(desk_of(request).decisions.standing(run.key, finding_id(finding))),
    )


def items(request: Request) -> Response:
    """Items of a queue from an offset on, with the decisions of one reviewer, for the script of the page."""
    run = run_of(request)
    finding = finding_of(request, run)
    desk = desk_of(request)
    queue = desk.queue(run, finding)
    offset = whole_number(request, "offset", 0)
    chosen = queue.items[offset : offset + MOST_ITEMS]
    table = desk.table_or_none(run)
    places = {} if table is None else table.positions({image for item in chosen for image in item.images})
    labels: dict[str, str] = {}
    if table is not None:
        names = run.class_names
        labels = {
            image: names[label] for image, row in places.items() if 0 <= (label := int(table.labels[row])) < len(names)
        }
    return answer(
        {
            "total": len(queue.items),
            "offset": offset,
            "items": [_item(item, places, labels) for item in chosen],
            "decided": _decided_by(request.query_params.get("reviewer", ""), request, run, queue),
        }
    )


def _item(item: Item, places: dict[str, int], labels: dict[str, str]) -> dict[str, Any]:
    return {
        "key": item.key,
        "images": [{"id": image, "row": places.get(image), "label": labels.get(image, "")} for image in item.images],
        "pictures": list(item.pictures),
        "second": item.second,
        "caption": item.caption,
        "given": item.given or labels.get(item.images[0], ""),
        "suggested": item.suggested,
    }


def _decided_by(reviewer: str, request: Request, run: RunFolder, queue: Queue) -> dict[str, list[str | None]]:
    """Decisions of one reviewer: those of others are not shown, so that each decides alone."""
    found = desk_of(request).decisions.standing(run.key, finding_id(queue.finding))
    return {one.item: [one.verdict, one.label] for one in found if one.reviewer == reviewer.strip()}


async def decide(request: Request) -> Response:
    """Write down a decision. It is on the disk before this answers."""
    fields = await fields_of(request)
    return await run_in_threadpool(_decide, request, {key: values[0] for key, values in fields.items() if values})


def _decide(request: Request, given: dict[str, str]) -> Response:
    run = run_of(request)
    finding = finding_of(request, run)
    desk = desk_of(request)
    queue = desk.queue(run, finding)
    verdict, label = given.get("verdict", ""), given.get("label") or None
    if given.get("item") not in {item.key for item in queue.items}:
        raise InputError("this queue has no such image")
    if verdict not in CHOICES[queue.form]:
        raise InputError(f"verdict {verdict[:40]!r}: expected one of {', '.join(CHOICES[queue.form])}")
    if label is not None and label not in queue.classes(run):
        raise InputError(f"{label[:60]!r} is none of the labels that may be chosen here")
    made = desk.decisions.add(run.key, finding_id(finding), given["item"], given.get("reviewer", ""), verdict, label)
    return answer({"number": made.number, "item": made.item, "verdict": made.verdict, "label": made.label})


async def undo(request: Request) -> Response:
    """Take back the last decision of a reviewer."""
    fields = await fields_of(request)
    return await run_in_threadpool(_undo, request, (fields.get("reviewer") or [""])[0])


def _undo(request: Request, reviewer: str) -> Response:
    run = run_of(request)
    finding = finding_of(request, run)
    found = desk_of(request).decisions.undo(run.key, finding_id(finding), reviewer)
    return answer({"item": None if found is None else found.item})


def decided(request: Request) -> Response:
    """What the decisions come to, and the commands that use them."""
    return page("decided.html.j2", request, **_decided(request, None))


def write_decided(request: Request) -> Response:
    """Write the table of decided images, and show the commands that read it."""
    run, desk = run_of(request), desk_of(request)
    table = _table(request, run)
    return page("decided.html.j2", request, **_decided(request, (table, str(write_table(table, run, desk.store)))))


def decided_file(request: Request) -> Response:
    """The table of decided images, to be kept elsewhere."""
    content = _table(request, run_of(request)).csv().encode("utf-8", "backslashreplace")
    headers = {"content-disposition": 'attachment; filename="decided.csv"'}
    return Response(content, headers=headers, media_type="text/csv; charset=utf-8")


def _table(request: Request, run: RunFolder) -> Table:
    from snellen.auditing.subject import audited_images, whole_images

    images = audited_images(run.path)
    if images is None:
        raise InputError(
            f"{run.name} does not say how its images were loaded: they were handed to the audit as objects. In "
            f"Python, report.review() gives the decisions"
        )
    return decided_table(images, desk_of(request).reviewed(run), whole_images(run.path))


def _decided(request: Request, written: tuple[Table, str] | None) -> dict[str, Any]:
    run, desk = run_of(request), desk_of(request)
    rows = []
    for queue, decisions in desk.reviewed(run):
        outcomes = settled(decisions)
        states = [one.state for one in outcomes.values()]
        verdicts = [one.verdict for one in outcomes.values() if one.verdict]
        disputed = [item for item in queue.items if (o := outcomes.get(item.key)) and o.state == "disputed"]
        rows.append(
            {
                "id": finding_id(queue.finding),
                "finding": queue.finding,
                "total": len(queue.items),
                "decided": len(states),
                "agreed": states.count("agreed"),
                "unsure": states.count("unsure"),
                "disputed": [" and ".join(item.images) for item in disputed[:50]],
                "disputes": len(disputed),
                "verdicts": [(one, verdicts.count(one)) for one in dict.fromkeys(verdicts)],
                "reviewers": reviewers_of(decisions),
                "agreements": agreements(decisions),
            }
        )
    reference = reference_of(run)
    commands = [] if written is None or reference.obstacle else _commands(request, run, reference, written)
    return {
        "title": f"Decisions on {run.name}",
        "run": run,
        "rows": rows,
        "reference": reference,
        "table": None if written is None else written[0],
        "file": None if written is None else written[1],
        "commands": commands,
    }


def _commands(
    request: Request, run: RunFolder, reference: Reference, written: tuple[Table, str]
) -> list[dict[str, str]]:
    """Commands that use the table: treating what audits of other images found, and auditing these images again."""
    table, file = written
    folder = desk_of(request).workplace.place
    found = []
    for other in desk_of(request).workplace.audits():
        same_model = other.identity and other.identity == run.identity
        other_images = other.contents != run.contents if run.contents else other.fingerprint != run.fingerprint
        if same_model and other_images and other.knows_images:
            out = free_folder(folder / f"{other.path.name}-treated")
            words = treat_words(other, reference.data, Path(file), table.columns, out)
            if words:
                about = f"Train on the decided images, and treat the first finding of {other.name}"
                found.append({"about": about, "line": shell_line(words)})
    if reference.model:
        about, options = "Audit these images again, with the decided labels", []
        try:
            options = audit_options(run, decided_place(run, desk_of(request).store, "-classes.txt"))
            about += ", as they were audited before"
        except CannotSayError as error:
            about += f". Add what this line leaves out: {error}"
        if table.beyond:
            options += ["--limit", str(len(table.rows) - table.beyond)]
            options += [] if "--seed" in options else ["--seed", str(run.seed)]
        out = free_folder(folder / f"{run.path.name}-decided")
        words = audit_words(reference.model, reference.data, Path(file), table.columns, out, options)
        found.append({"about": about, "line": shell_line(words)})
    return found
