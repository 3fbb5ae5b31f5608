"""The whole time of a request. A client knows only the time between two bytes, which a trickle never uses up."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

#: ``socket.SHUT_RDWR``, without the module: nothing here opens a connection.
_BOTH_WAYS = 2


class Deadline:
    """Cuts the connection of a client that sends one request after another, when the time of one is over.

    Whatever the client waits for then fails, or ends early: who opened the block looks whether its event is set.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._over: threading.Event | None = None
        self._stream: Any = None

    def seen(self, name: str, told: Mapping[str, Any]) -> None:
        """The ``trace`` of httpcore: learn which connection the request takes; it may be an earlier one."""
        if name.endswith((".connect_tcp.complete", ".start_tls.complete")):
            with self._lock:
                self._stream = told["return_value"]
                if self._over is not None and self._over.is_set():
                    self._cut()

    @contextmanager
    def within(self, seconds: float) -> Iterator[threading.Event]:
        """A block that has so many seconds; the event tells whether they are over."""
        over = threading.Event()

        def end() -> None:
            with self._lock:
                if self._over is over:  # else it was over just now, and the connection serves the next request
                    over.set()
                    self._cut()

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        self._over = over
        timer.start()
        try:
            yield over
        finally:
            timer.cancel()
            with self._lock:
                self._over = None

    def _cut(self) -> None:
        found = None if self._stream is None else self._stream.get_extra_info("socket")
        if found is not None:
            with suppress(OSError):  # closed already
                found.shutdown(_BOTH_WAYS)
