"""A command whose reader stops reading (``snellen audit … | head``) continues, and ends with its own exit code."""

from __future__ import annotations

import errno
import io
import os
import sys


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
