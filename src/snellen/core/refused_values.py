"""What a model of parameters refuses, in words: what was expected, and what came."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any

from pydantic import ValidationError

#: What is expected, by pydantic's name of the error; fields in braces are its context.
_EXPECTED = {
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "finite_number": "a finite number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "text",
    "literal_error": "{expected}",
    "enum": "{expected}",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a table of names and values",
    "model_type": "a table of names and values",
    "model_attributes_type": "a table of names and values",
}

#: Characters of a value that are shown.
_SHOWN = 80


def refused_values(
    error: ValidationError, name: str = "", *, values: bool = True, most: int = 10, known: Collection[str] = ()
) -> str:
    """All values that a model refuses, in one line, each behind its place.

    >>> from pydantic import BaseModel, Field
    >>> class Fade(BaseModel):
    ...     amount: float = Field(0.5, le=1)
    >>> try:
    ...     Fade(amount=2)
    ... except ValidationError as error:
    ...     refused_values(error)
    'amount: expected at most 1, got 2 (2 % is 0.02)'

    Args:
        error: of pydantic.
        name: stands for the place where several values together are refused.
        values: show what came; without, for values that may be secret or long.
        most: refused values that are listed.
        known: names that there are, listed where another one came.
    """
    lines = []
    for one in error.errors(include_url=False, include_input=values)[:most]:
        place = ".".join(str(part) for part in one["loc"]) or name
        words = f"{refused_value(one)}{likely(place, one)}"
        if known and one["type"] == "extra_forbidden" and len(one["loc"]) == 1:
            near = difflib.get_close_matches(place, known, n=3, cutoff=0.5)
            meant = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
            words += f"; {meant}Known: {', '.join(sorted(known))}"
        lines.append(f"{place}: {words}" if place else words)
    return " ".join("; ".join(dict.fromkeys(lines)).split())


def refused_value(one: Mapping[str, Any]) -> str:
    """One error of pydantic in words, without its place; what came is shown where the error holds it."""
    kind = str(one["type"])
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return "is not known"
    if kind == "value_error":
        return str(one["msg"]).removeprefix("Value error, ")
    if kind in _EXPECTED:
        wanted = _EXPECTED[kind].format(**{name: _short(value) for name, value in one.get("ctx", {}).items()})
        return f"expected {wanted}{_came(one)}"
    message = str(one["msg"])
    return f"{message[:1].lower()}{message[1:]}{_came(one)}"


def likely(place: str, one: Mapping[str, Any]) -> str:
    """What was probably meant where at most 1 is possible and more came: levels of 255, or percent; else nothing.

    >>> likely("epsilon", {"type": "less_than_equal", "ctx": {"le": 1}, "input": 8})
    ' (pixels lie in [0, 1]: 8 levels of 255 are 8/255)'
    """
    came, bound = one.get("input"), {**one.get("ctx", {})}
    if bound.get("le", bound.get("lt")) != 1 or isinstance(came, bool) or not isinstance(came, int | float):
        return ""
    if came <= 1:
        return ""
    if "epsilon" in place:
        return f" (pixels lie in [0, 1]: {came:g} levels of 255 are {came:g}/255)" if came <= 255 else ""
    return f" ({came:g} % is {came / 100:g})" if came <= 100 else ""


def _short(value: object) -> object:
    """A bound as people write it: 1 for 1.0."""
    return f"{value:.12g}" if isinstance(value, float) else value


def _came(one: Mapping[str, Any]) -> str:
    if "input" not in one:
        return ""
    text = repr(one["input"])
    return f", got {text}" if len(text) <= _SHOWN else f", got {text[:_SHOWN]}…"
