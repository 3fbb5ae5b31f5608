"""What pages and answers are made of: the run of an address, the fields of a form, errors as pages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from snellen.core.errors import InputError
from snellen.core.finding import Finding
from snellen.desk.desk import Desk
from snellen.desk.rendering import render
from snellen.desk.run_folder import RunFolder


def desk_of(request: Request) -> Desk:
    """The desk that a request is for."""
    found: Desk = request.app.state.desk
    return found


def run_of(request: Request) -> RunFolder:
    """The run of an address.

    Raises:
        HTTPException: there is none.
    """
    found = desk_of(request).workplace.run(request.path_params["run"])
    if found is None:
        raise HTTPException(404, "there is no such run in this folder")
    return found


def finding_of(request: Request, run: RunFolder) -> Finding:
    """The finding of an address.

    Raises:
        HTTPException: there is none.
    """
    found = run.finding(request.path_params["finding"])
    if found is None:
        raise HTTPException(404, "this run has no such finding")
    return found


def whole_number(request: Request, name: str, default: int) -> int:
    """A whole number of at least 0 in the query of an address; the default where it is left out or empty.

    Raises:
        InputError: something else.
    """
    text = request.query_params.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise InputError(f"{name} {text[:40]!r}: expected a whole number of at least 0")
    return int(text)


async def fields_of(request: Request) -> dict[str, list[str]]:
    """The fields of a form, or of a JSON object of texts.

    Raises:
        InputError: neither.
    """
    content, kind = await request.body(), request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == "application/json":
            found = json.loads(content)
            if not isinstance(found, dict):
                raise ValueError("not an object")
            return {
                str(key): [str(one) for one in (value if isinstance(value, list) else [value]) if one is not None]
                for key, value in found.items()
            }
        if kind == "application/x-www-form-urlencoded":
            pairs = QueryParams(content.decode("utf-8"))
            return {key: pairs.getlist(key) for key in pairs}
    except (ValueError, RecursionError) as error:
        raise InputError(f"the request cannot be read: {error}") from error
    raise InputError("a request holds a form or JSON")


def page(
    template: str, request: Request, *, http_status: int = 200, policy: str | None = None, **values: object
) -> Response:
    """A page of the desk."""
    content = render(template, here=request.url.path, **values)
    headers = {} if policy is None else {"content-security-policy": policy}
    return Response(content, http_status, headers, media_type="text/html; charset=utf-8")


def answer(values: Mapping[str, Any], status: int = 200) -> JSONResponse:
    """JSON; characters beyond ASCII are escaped, so that also half of one can be sent."""
    return _Escaped(dict(values), status)


class _Escaped(JSONResponse):
    def render(self, content: Any) -> bytes:  # noqa: ANN401
        return json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()


def wants_json(request: Request) -> bool:
    """Whether a script reads the answer, and no person."""
    return "application/json" in (request.headers.get("accept", "") + request.headers.get("content-type", ""))


async def shown_error(request: Request, error: Exception) -> Response:
    """An error in words, for a person or for the script of a page."""
    status, words = 400, str(error)
    if isinstance(error, HTTPException):
        status, words = error.status_code, str(error.detail)
    if wants_json(request):
        return answer({"error": words}, status)
    return page("error.html.j2", request, http_status=status, title="This cannot be shown", words=words)
