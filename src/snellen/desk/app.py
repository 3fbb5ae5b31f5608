"""All addresses of the desk, and the application behind its gatekeeper."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from snellen.core.errors import SnellenError
from snellen.desk import image_pages, requirements_pages, review_pages, run_pages, work_pages
from snellen.desk.desk import Desk
from snellen.desk.gatekeeping import Gatekeeper
from snellen.desk.rendering import STATIC, static
from snellen.desk.requests import shown_error


def static_file(request: Request) -> Response:
    """Style and script. Their addresses change with their content."""
    name = request.path_params["name"]
    if name not in STATIC:
        raise HTTPException(404, "there is no such file")
    headers = {"cache-control": "private, max-age=31536000, immutable"}
    return Response(static(name), headers=headers, media_type=STATIC[name][1])


_warm = threading.Event()


def _prepare() -> None:
    """Load what reads images and draws reports, while a person reads the list: it takes seconds."""
    if not _warm.is_set():
        _warm.set()
        with suppress(ImportError):
            import snellen.auditing.compare.run_record
            import snellen.auditing.html
            import snellen.auditing.subject  # noqa: F401 - in the background


def first_page(request: Request) -> Response:
    """The list of runs."""
    response = run_pages.runs(request)
    response.background = BackgroundTask(_prepare)
    return response


#: Address, what answers, methods.
ROUTES: tuple[tuple[str, Callable[[Request], Any], tuple[str, ...]], ...] = (
    ("/", first_page, ("GET",)),
    ("/static/{name}", static_file, ("GET",)),
    ("/runs/{run}", run_pages.run, ("GET",)),
    ("/runs/{run}/state", run_pages.state, ("GET",)),
    ("/runs/{run}/report", run_pages.whole_report, ("GET",)),
    ("/runs/{run}/pictures/{name}", run_pages.picture, ("GET",)),
    ("/runs/{run}/gallery", image_pages.gallery, ("GET",)),
    ("/runs/{run}/rows", image_pages.rows, ("GET",)),
    ("/runs/{run}/images/{row:int}/{size}", image_pages.image, ("GET",)),
    ("/runs/{run}/review/{finding}", review_pages.review, ("GET",)),
    ("/runs/{run}/review/{finding}/items", review_pages.items, ("GET",)),
    ("/runs/{run}/review/{finding}/decide", review_pages.decide, ("POST",)),
    ("/runs/{run}/review/{finding}/undo", review_pages.undo, ("POST",)),
    ("/runs/{run}/decided", review_pages.decided, ("GET",)),
    ("/runs/{run}/decided/write", review_pages.write_decided, ("POST",)),
    ("/runs/{run}/decided/table", review_pages.decided_file, ("GET",)),
    ("/runs/{run}/treat", work_pages.treat, ("GET",)),
    ("/compare", work_pages.compare, ("GET",)),
    ("/compare/rows", work_pages.compared_rows, ("GET",)),
    ("/requirements", requirements_pages.requirements, ("GET",)),
    ("/jobs", work_pages.jobs, ("GET",)),
    ("/jobs/new", work_pages.new_job, ("GET",)),
    ("/jobs/start", work_pages.start, ("POST",)),
    ("/jobs/command", work_pages.command, ("POST",)),
    ("/jobs/{job}", work_pages.job, ("GET",)),
    ("/jobs/{job}/state", work_pages.job_state, ("GET",)),
    ("/jobs/{job}/stop", work_pages.stop, ("POST",)),
)


def pages(desk: Desk) -> Starlette:
    """The pages of a desk. They answer every request: access is decided in front of them."""
    app = Starlette(
        routes=[Route(path, answers, methods=list(methods)) for path, answers, methods in ROUTES],
        exception_handlers={HTTPException: shown_error, SnellenError: shown_error},
    )
    app.state.desk = desk
    return app


def desk_app(desk: Desk, token: str, port: int) -> Gatekeeper:
    """The pages behind their gatekeeper.

    Args:
        desk: runs, decisions and jobs.
        token: secret of this start.
        port: that it listens at.
    """
    return Gatekeeper(pages(desk), token, port)
