"""The routes of the desk as an OpenAPI document: what each address takes, for tests that are made of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from snellen.desk.app import ROUTES
from snellen.desk.commands import EFFORTS
from snellen.desk.decisions import LONGEST_NAME, VERDICTS
from snellen.desk.image_table import Query
from snellen.desk.rendering import STATIC
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
    "/compare": dict.fromkeys(("first", "second", "which"), _TEXT),
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

#: Fields without which a body says nothing.
_NEEDED = {
    "/runs/{run}/review/{finding}/decide": ["item", "reviewer", "verdict"],
    "/runs/{run}/review/{finding}/undo": ["reviewer"],
    "/jobs/start": ["model", "data"],
    "/jobs/command": ["model", "data"],
}


@dataclass(frozen=True)
class Known:
    """What is there, so that requests reach it and do not end at an address that leads nowhere.

    Attributes:
        parts: what stands in a part of an address, by its name; ``/address name`` where only that address means it.
        chosen: values that fields of queries and bodies may have, by name.
        fields: values that they have in half of the requests; in the others it is any.
    """

    parts: Mapping[str, Sequence[object]] = field(default_factory=dict)
    chosen: Mapping[str, Sequence[object]] = field(default_factory=dict)
    fields: Mapping[str, Sequence[object]] = field(default_factory=dict)


def described(known: Known | None = None) -> dict[str, Any]:
    """The document.

    Args:
        known: what is there; None: any text.
    """
    there = known or Known()
    paths: dict[str, dict[str, Any]] = {}
    for route, _, methods in ROUTES:
        path = re.sub(r"\{(\w+):\w+\}", r"{\1}", route)
        parts = {name: _part(path, name, there) for name in re.findall(r"\{(\w+)\}", path)}
        for method in methods:
            query = _gallery() if path in ("/runs/{run}/gallery", "/runs/{run}/rows") else QUERIES.get(path, {})
            fields = [_with_known(one, there) for one in (query, BODIES.get(path, {}))]
            needed = _NEEDED.get(path, [])
            paths.setdefault(path, {})[method.lower()] = _operation(parts, fields[0], fields[1], needed, method)
    return {"openapi": "3.1.0", "info": {"title": "The desk", "version": __version__}, "paths": paths}


def _operation(
    parts: dict[str, Any], query: dict[str, Any], body: dict[str, Any], needed: Sequence[str], method: str
) -> dict[str, Any]:
    parameters = [{"name": name, "in": "path", "required": True, "schema": one} for name, one in parts.items()]
    parameters += [{"name": name, "in": "query", "schema": one} for name, one in query.items()]
    found: dict[str, Any] = {"parameters": parameters, "responses": {"default": {"description": "an answer"}}}
    if method == "POST":
        schema = {"type": "object", "properties": body, "required": list(needed)}
        kinds = ("application/json", "application/x-www-form-urlencoded")
        found["requestBody"] = {"required": bool(needed), "content": {kind: {"schema": schema} for kind in kinds}}
    return found


def _part(path: str, name: str, known: Known) -> dict[str, Any]:
    values = known.parts.get(f"{path} {name}") or known.parts.get(name)
    if values:
        return {"enum": list(values)}
    if path == "/static/{name}":
        return {"enum": list(STATIC)}
    return _PARTS.get(name, {"type": "string", "minLength": 1})


def _with_known(fields: Mapping[str, Any], known: Known) -> dict[str, Any]:
    chosen = {name: {"enum": list(known.chosen[name])} for name in fields if name in known.chosen}
    either = {
        name: {"anyOf": [{"enum": list(known.fields[name])}, one]}
        for name, one in fields.items()
        if name in known.fields
    }
    return {**fields, **either, **chosen}


def _gallery() -> dict[str, Any]:
    return {**Query.model_json_schema()["properties"], **_PAGE}
