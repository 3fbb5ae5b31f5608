"""The record of what left this machine: a line of JSON for each request, never its content and never a key.

The owner of a run directory listens (:func:`sent_log`); the clients report (:func:`tell`) after each attempt, answered
or not. A process that may not write into the run directory hands its lines on to one that may (:func:`append`).
"""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

#: Name of the file in a run directory.
SENT = "sent.jsonl"

_listeners: ContextVar[tuple[Callable[[str], None], ...]] = ContextVar("listeners", default=())


@dataclass(frozen=True)
class SentRequest:
    """One attempt of one request.

    Attributes:
        address: where it went, without a query.
        image_hashes: sha256 of the bytes of each image, as sent.
        size: of the whole body, bytes.
        attempt: 1 for the first.
        status: of HTTP; None when no answer came.
    """

    address: str
    image_hashes: Sequence[str]
    size: int
    attempt: int
    status: int | None

    def line(self, now: datetime.datetime) -> str:
        """As a line of JSON, with a newline.

        >>> request = SentRequest("http://127.0.0.1/v2/models/a/infer", ["0a"], 99, 1, 200)
        >>> print(request.line(datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)), end="")
        {"time": "2026-01-02T03:04:05.000+00:00", "address": "http://127.0.0.1/v2/models/a/infer", "images": 1, ...}
        """
        entry = {
            "time": now.isoformat(timespec="milliseconds"),
            "address": self.address,
            "images": len(self.image_hashes),
            "sha256": list(self.image_hashes),
            "bytes": self.size,
            "attempt": self.attempt,
            "status": self.status,
        }
        return json.dumps(entry) + "\n"


def tell(request: SentRequest) -> None:
    """Note a request with everybody who listens."""
    listeners = _listeners.get()
    if listeners:
        line = request.line(datetime.datetime.now(datetime.UTC))
        for listener in listeners:
            listener(line)


class SentLog:
    """What was sent inside a ``with`` block: held back until there is a folder, and from then on written at once.

    >>> with sent_log() as log:
    ...     tell(SentRequest("http://127.0.0.1/v2/models/a/infer", [], 2, 1, 200))
    >>> len(log.lines)
    1
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        #: Lines that are not written: all of them, as long as there is no folder.
        self.lines: list[str] = []

    def into(self, folder: Path) -> None:
        """Write into ``sent.jsonl`` of a folder, which appears with the first line."""
        self._folder = folder
        self._write()

    def hear(self, line: str) -> None:
        """Note one line."""
        self.lines.append(line)
        self._write()

    def _write(self) -> None:
        if self._folder is not None:
            append(self._folder, self.lines)
            self.lines.clear()


@contextmanager
def sent_log(*, alone: bool = False) -> Iterator[SentLog]:
    """Receive each request that leaves inside a ``with`` block; ``alone``, others that listen do not."""
    log = SentLog()
    token = _listeners.set((*(() if alone else _listeners.get()), log.hear))
    try:
        yield log
    finally:
        _listeners.reset(token)


def append(folder: Path, lines: Iterable[str]) -> None:
    """Add lines to ``sent.jsonl``, all of them in one write at the end, so that several processes may.

    A line is there before the next request leaves: what a killed run had sent is in its record.
    """
    left = "".join(lines).encode()
    if not left:
        return
    # Python keeps it from child processes by itself. Windows would write each line end as two bytes.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
    file = os.open(folder / SENT, flags, 0o666)
    written = 0
    try:
        while left:
            written += (count := os.write(file, left))
            left = left[count:]
    except OSError:
        # A disk that is full in the middle of a line: the next one must not go on behind the half of it.
        end = os.lseek(file, 0, os.SEEK_CUR)
        if written and os.fstat(file).st_size == end:
            os.ftruncate(file, end - written)
        raise
    finally:
        os.close(file)
