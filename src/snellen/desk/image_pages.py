"""The gallery, and pictures of images by their row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from snellen.core.errors import InputError
from snellen.desk.image_table import ImageTable, Query
from snellen.desk.queues import ids_of
from snellen.desk.requests import answer, desk_of, page, run_of, whole_number
from snellen.desk.run_folder import RunFolder, finding_id

#: Rows of one answer.
MOST_ROWS = 500


def gallery(request: Request) -> Response:
    """The images of a run, filtered and sorted."""
    run, desk = run_of(request), desk_of(request)
    table = desk.table(run)
    return page(
        "gallery.html.j2",
        request,
        title=f"Images of {run.name}",
        run=run,
        total=len(table),
        classes=list(enumerate(run.class_names)),
        groups=table.group_names,
        settings=table.settings,
        sorts=("confidence", "id", *table.properties),
        findings=[(finding_id(one.finding), one.finding) for one in desk.queues(run)],
        given=dict(request.query_params),
    )


def rows(request: Request) -> Response:
    """Images of a query, from an offset on, for the script of the gallery."""
    run, desk = run_of(request), desk_of(request)
    table = desk.table(run)
    query, offset, limit = query_of(request)
    found = table.rows(query, members(request, run, query))
    shown = rows_of(table, found[offset : offset + limit].tolist(), run.class_names)
    table.prepare()
    return answer({"total": len(found), "offset": offset, "rows": shown, "why": desk.pictures.why_not(run)})


def query_of(request: Request) -> tuple[Query, int, int]:
    """Query, offset and number of rows of a request.

    Raises:
        InputError: a field that is unknown or cannot be.
    """
    given = {key: value for key, value in request.query_params.multi_items() if value != ""}
    fields = {key: value for key, value in given.items() if key not in ("offset", "limit")}
    offset, limit = whole_number(request, "offset", 0), whole_number(request, "limit", 100)
    try:
        return Query.model_validate(fields), offset, min(limit, MOST_ROWS)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def members(request: Request, run: RunFolder, query: Query) -> list[str] | None:
    """The images of the finding of a query; None: all."""
    if not query.finding:
        return None
    finding = run.finding(query.finding)
    if finding is None:
        raise HTTPException(404, "this run has no such finding")
    return ids_of(desk_of(request).queue(run, finding))


def rows_of(table: ImageTable, places: Sequence[int], names: tuple[str, ...]) -> list[dict[str, Any]]:
    """What a page shows about some images."""
    ids = table.ids_at(places)
    return [_row_of(table, place, name, names) for place, name in zip(places, ids, strict=True)]


def _row_of(table: ImageTable, place: int, example: str, names: tuple[str, ...]) -> dict[str, Any]:
    label, prediction = int(table.labels[place]), int(table.predictions[place])
    confidence = float(table.confidence[place])
    return {
        "row": place,
        "id": example,
        "label": names[label] if 0 <= label < len(names) else "",
        "prediction": names[prediction] if 0 <= prediction < len(names) else "",
        "right": label == prediction if label >= 0 else None,
        "confidence": round(confidence, 4) if math.isfinite(confidence) else None,
    }


def image(request: Request) -> Response:
    """A picture of one image, small or large."""
    run, desk = run_of(request), desk_of(request)
    table, place = desk.table(run), request.path_params["row"]
    if place >= len(table):
        raise HTTPException(404, "there is no such image")
    (example,) = table.ids_at([place])
    make = desk.pictures.large if request.path_params["size"] == "large" else desk.pictures.small
    try:
        content = make(run, example)
    except InputError as error:
        raise HTTPException(404, str(error)) from error
    headers = {"cache-control": "private, max-age=3600" if run.keeps_pictures else "no-store"}
    return Response(content, headers=headers, media_type="image/webp")
