"""Parameters behind the ``?`` of a reference."""

from __future__ import annotations

from snellen.core.errors import InputError


def query_parameters(query: str, shown: str) -> dict[str, str]:
    """Parameters of a reference, ``name=value&name=value``, as texts; ``shown`` is the reference, for messages."""
    found: dict[str, str] = {}
    for part in query.split("&") if query else []:
        name, is_pair, text = part.partition("=")
        if not is_pair or not name:
            raise InputError(f"{shown}: write parameters as ?name=value&name=value, got {part!r}")
        if name in found:
            raise InputError(f"{shown}: {name} is given twice; write several values as {name}=a,b")
        found[name] = text
    return found
