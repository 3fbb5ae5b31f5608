"""TOML files that users write, read within limits of size and depth."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from snellen.core.errors import InputError

#: Bytes of a file, and tables and lists within one another, from which on it is refused.
_MAX_BYTES, _MAX_DEPTH = 2**18, 20

#: A key of that many parts with dots between them. ``tomllib`` keeps every beginning of a key: it must not see such.
_DEEP_KEY = re.compile(rf"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{_MAX_DEPTH}}}""")

#: Characters of a reason that a message repeats.
_MOST_REASON = 300


def read_toml(place: Path, hint: str) -> dict[str, Any]:
    """What a TOML file of a user holds, within limits of size and depth.

    Args:
        place: the file.
        hint: how one comes by such a file, for the error where there is none.

    Raises:
        InputError: there is no such file, it is too large or nested too deep, or it is not TOML.
    """
    return tables_of(text_of(place, hint), place)


def text_of(place: Path, hint: str) -> str:
    """The text of such a file, or of a little more than may be in one.

    Raises:
        InputError: there is no such file, or it is not UTF-8 text.
    """
    try:
        with place.open("rb") as file:
            return file.read(_MAX_BYTES + 1).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"{place} cannot be read: {reason}; {hint}") from error


def tables_of(text: str, place: Path) -> dict[str, Any]:
    """What a text holds.

    Args:
        text: of the file.
        place: of the file, for messages.

    Raises:
        InputError: the text is too long, nested too deep, or not TOML.
    """
    if len(text) > _MAX_BYTES:
        raise InputError(f"{place} is too large; expected at most {_MAX_BYTES} bytes")
    deep = _DEEP_KEY.search(text) is not None
    written: dict[str, Any] = {}
    try:
        written = {} if deep else tomllib.loads(text)
        deep = deep or _deeper(written, _MAX_DEPTH)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{place} is not TOML: {str(error)[:_MOST_REASON]}") from error
    except RecursionError:
        deep = True
    if deep:
        raise InputError(f"{place}: tables or lists are nested more than {_MAX_DEPTH} deep; write them flat")
    return written


def _deeper(value: object, depth: int) -> bool:
    """Whether mappings and lists are within one another more than so many times."""
    level = [value]
    for _ in range(depth):
        level = [
            member
            for one in level
            if isinstance(one, dict | list)
            for member in (one.values() if isinstance(one, dict) else one)
        ]
    return any(isinstance(one, dict | list) for one in level)
