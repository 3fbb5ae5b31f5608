"""Output into a file or pipe whose encoding lacks our signs, as on Windows: plain ones stand in their place."""

from __future__ import annotations

import codecs
import io
import json
import sys

#: What stands for a sign that an encoding such as cp1252 does not have; all others are escaped as in JSON.
_PLAIN = {"→": "->", "↔": "<->", "≥": ">=", "≤": "<=", "−": "-", "≈": "~", "∞": "inf", "✓": "yes", "✗": "no", "Δ": "d"}


def narrow_output() -> None:
    """See to it that no character stops standard output; an encoding of Unicode stays as it is."""
    codecs.register_error("snellen.plain", _plain)
    if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.encoding.lower().startswith("utf"):
        sys.stdout.reconfigure(errors="snellen.plain")


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(
        _PLAIN.get(sign) or json.dumps(sign)[1:-1] for sign in error.object[error.start : error.end]
    ), error.end
