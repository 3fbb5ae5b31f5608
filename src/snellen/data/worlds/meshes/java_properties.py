"""Reads Java's property files, in which Sweet Home 3D describes its catalogues."""

from __future__ import annotations

import re
from collections.abc import Iterator

from snellen.core.errors import InputError

_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_LETTERS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_KEY = re.compile(r"((?:\\.|[^\\=:\s])*)[ \t\f]*(?:[=:][ \t\f]*)?", re.DOTALL)
_BLANKS = " \t\f"


def read_properties(content: bytes) -> dict[str, str]:
    r"""Keys and values, the later of equal keys.

    Bytes are UTF-8, or Latin-1 where they are not (as Java has it since version 9). A line that begins with # or ! is a
    comment, one that ends with an odd number of backslashes goes on in the next, and \\uXXXX is a character.

    Source: documentation of java.util.Properties.load and java.util.PropertyResourceBundle.

    >>> read_properties(b"# furniture\nid#1=caf\\u00e9\nname#1 : Coffee\\\n   table")
    {'id#1': 'café', 'name#1': 'Coffeetable'}

    Raises:
        InputError: an escape \\u without four digits.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    properties: dict[str, str] = {}
    for line in _logical_lines(text):
        match = _KEY.match(line)
        assert match is not None  # the expression matches the empty text too
        properties[_unescaped(match.group(1))] = _unescaped(line[match.end() :])
    return properties


def _logical_lines(text: str) -> Iterator[str]:
    parts: list[str] = []
    for line in re.split(r"\r\n|\r|\n", text):
        stripped = line.lstrip(_BLANKS)
        if not parts and (not stripped or stripped[0] in "#!"):
            continue
        backslashes = len(stripped) - len(stripped.rstrip("\\"))
        goes_on = backslashes % 2 == 1
        parts.append(stripped[:-1] if goes_on else stripped)
        if not goes_on:
            yield "".join(parts)
            parts = []
    if parts:
        yield "".join(parts)


def _unescaped(text: str) -> str:
    def character(match: re.Match[str]) -> str:
        if match.group(1):
            return chr(int(match.group(1), 16))
        if match.group(2) == "u":
            raise InputError(f"property {text[:60]!r}: \\u must be followed by four hexadecimal digits")
        return _LETTERS.get(match.group(2), match.group(2))

    # Characters beyond the first 65,536 are written as two halves, which only UTF-16 puts together.
    joined = _ESCAPE.sub(character, text)
    return joined.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
