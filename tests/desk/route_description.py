"""The routes of the desk as an OpenAPI document: what each address takes, for tests that are made of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from snellen.desk.app import ROUTES
from snellen.desk.commands import EFFORTS
from snellen.desk.decisions import LONGEST_NAME, VERDICTS
from snellen.desk.image_table import Query
from snellen.version import __version__

#: What each part of an address is.
_PARTS: dict[str, dict[str, Any]] = {"row": {"type": "integer", "minimum": 0}, "size": {"enum": ["small", "large"]}}

_TEXT = {"type": "string", "maxLength": 400}
_NUMBER = {"type": "integer", "minimum": 0, "maximum": 10**9}
_PAGE = {"offset": _NUMBER, "limit": _NUMBER}

#: Fields of a form that starts a command.
_WORK = {
    **dict.fromkeys(("run", "model", "data", "train", "table", "budget", "out", "finding"), _TEXT),
    "effort": {"enum": list(EFFORTS)},
    "only": {"enum": ["", "plan"]},
}

#: Fields of queries, and of bodies, by address.
QUERIES: dict[str, dict[str, Any]] = {
    "/runs/{run}/review/{finding}/items": {"offset": _NUMBER, "reviewer": _TEXT},
    "/runs/{run}/treat": dict.fromkeys(("train", "table", "finding"), _TEXT),
    "/compare": dict.fromkeys(("first", "second"), _TEXT),
    "/compare/rows": {**dict.fromkeys(("first", "second", "which"), _TEXT), **_PAGE},
    "/requirements": dict.fromkeys(("file", "run"), _TEXT),
    "/jobs/new": dict.fromkeys(("model", "data", "train"), _TEXT),
}
BODIES: dict[str, dict[str, Any]] = {
    "/runs/{run}/review/{finding}/decide": {
        "item": _TEXT,
        "reviewer": {"type": "string", "minLength": 1, "maxLength": LONGEST_NAME},
        "verdict": {"enum": list(VERDICTS)},
        "label": {"type": ["string", "null"]},
    },
    "/runs/{run}/review/{finding}/undo": {"reviewer": _TEXT},
    "/jobs/start": _WORK,
    "/jobs/command": _WORK,
}


def described(runs: Sequence[str] = (), findings: Sequence[str] = ()) -> dict[str, Any]:
    """The document.

    Args:
        runs: ids of runs that are there; none: any text. findings: the same of findings.
    """
    paths: dict[str, dict[str, Any]] = {}
    for route, _, methods in ROUTES:
        path = re.sub(r"\{(\w+):\w+\}", r"{\1}", route)
        parts = {name: _part(name, runs, findings) for name in re.findall(r"\{(\w+)\}", path)}
        for method in methods:
            query = _gallery() if path in ("/runs/{run}/gallery", "/runs/{run}/rows") else QUERIES.get(path, {})
            paths.setdefault(path, {})[method.lower()] = _operation(parts, query, BODIES.get(path), method)
    return {"openapi": "3.1.0", "info": {"title": "The desk", "version": __version__}, "paths": paths}


def _operation(
    parts: dict[str, Any], query: dict[str, Any], body: dict[str, Any] | None, method: str
) -> dict[str, Any]:
    parameters = [{"name": name, "in": "path", "required": True, "schema": one} for name, one in parts.items()]
    parameters += [{"name": name, "in": "query", "schema": one} for name, one in query.items()]
    found: dict[str, Any] = {"parameters": parameters, "responses": {"default": {"description": "an answer"}}}
    if method == "POST":
        schema = {"type": "object", "properties": body or {}}
        kinds = ("application/json", "application/x-www-form-urlencoded")
        found["requestBody"] = {"content": {kind: {"schema": schema} for kind in kinds}}
    return found


def _part(name: str, runs: Sequence[str], findings: Sequence[str]) -> dict[str, Any]:
    if name in _PARTS:
        return _PARTS[name]
    known = {"run": runs, "finding": findings}.get(name, ())
    return {"enum": list(known)} if known else {"type": "string", "minLength": 1}


def _gallery() -> dict[str, Any]:
    return {**Query.model_json_schema()["properties"], **_PAGE}
