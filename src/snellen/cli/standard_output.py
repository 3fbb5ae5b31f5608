"""Standard output that neither an encoding without our signs nor a reader who stops reading ends."""

from __future__ import annotations

import codecs
import errno
import io
import json
import os
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


class _Outliving(io.RawIOBase):
    """A file descriptor whose writes are lost, and no error, once nobody reads them."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, content: object) -> int:
        data = bytes(content)  # type: ignore[call-overload]
        try:
            return os.write(self._descriptor, data)
        except BrokenPipeError:
            return len(data)
        except OSError as error:
            if os.name == "nt" and error.errno == errno.EINVAL:  # how Windows reports it
                return len(data)
            raise


def outlive_closed_pipe() -> None:
    """Put a stream in place of standard output that a closed pipe does not stop; a terminal keeps its own."""
    own = sys.stdout
    if own is None or own.isatty():
        return
    try:
        descriptor = own.fileno()
    except (OSError, ValueError, AttributeError):  # no file at all, as under a test's capture
        return
    own.flush()
    raw = io.BufferedWriter(_Outliving(descriptor))
    sys.stdout = io.TextIOWrapper(raw, encoding=own.encoding, errors=own.errors)
