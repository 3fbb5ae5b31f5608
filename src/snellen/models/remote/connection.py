"""How a client connects: its key, its headers, no redirect, no proxy on the way to this machine, and a whole time."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from snellen.core.errors import InputError
from snellen.models.remote.permission import ServerUrl

#: How much of a text of a server a message shows, characters.
SHOWN = 300


@dataclass(frozen=True)
class Key:
    """A secret, and the environment variable that it came from; an empty text is none."""

    variable: str
    secret: str = field(default="", repr=False)

    @property
    def described(self) -> str:
        """Where it comes from, for messages."""
        state = "set" if self.secret else "not set"
        return f"it is taken from the environment variable {self.variable}, which is {state}"

    def hidden(self, text: str) -> str:
        """A text of the server, short and without the key."""
        return shown(text.replace(self.secret, "***") if self.secret else text)


def read_key(variable: str, server: ServerUrl) -> Key:
    """Take the key from the environment; where the variable is not set, there is none.

    Raises:
        InputError: it would travel to another machine without encryption, or holds what no header can.
    """
    secret = os.environ.get(variable, "").strip()
    if secret and not (secret.isascii() and secret.isprintable()):
        # A client would say what it cannot send, in a spelling in which the key is not found to be hidden.
        raise InputError(f"the key in {variable} holds characters other than printable ones of ASCII; set it anew")
    if secret and not (server.loopback or server.encrypted):
        raise InputError(
            f"the key in {variable} would travel to {server.url} without encryption; use https, or unset it"
        )
    return Key(variable, secret)


def shown(text: str) -> str:
    """A text as an error message shows it: its beginning, in one line."""
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")


#: ``socket.SHUT_RDWR``, without the module: nothing here opens a connection.
_BOTH_WAYS = 2


class Deadline:
    """Cuts the connection of a client that sends one request after another, when the time of one is over.

    The client's current call then fails, or ends early: the caller checks whether the event of its block is set.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._over: threading.Event | None = None
        self._stream: Any = None

    def seen(self, name: str, described: Mapping[str, Any]) -> None:
        """The ``trace`` of httpcore: learn which connection the request takes; it may be an earlier one."""
        if name.endswith((".connect_tcp.complete", ".start_tls.complete")):
            with self._lock:
                self._stream = described["return_value"]
                if self._over is not None and self._over.is_set():
                    self._cut()

    @contextmanager
    def within(self, seconds: float) -> Iterator[threading.Event]:
        """A block that has so many seconds; the event is set when they are over."""
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


#: The headers that leave. A client would add the system, versions and settings of the environment.
HEADERS = frozenset(
    ("host", "content-type", "content-length", "accept", "accept-encoding", "authorization", "connection")
)


def client_options(
    server: ServerUrl, key: Key, *, timeout: object, headers: Collection[str] = HEADERS, keep_open: bool = False
) -> dict[str, Any]:
    """Arguments of an httpx client.

    Args:
        server: the one server that it talks to.
        key: what goes into the header ``authorization``.
        timeout: of the client.
        headers: the names that leave, in small letters.
        keep_open: use a connection for several requests; the caller then has to close the client.
    """
    return {
        "timeout": timeout,
        "follow_redirects": False,
        "trust_env": not server.loopback,  # a proxy of the environment is another machine
        "verify": server.encrypted or not server.loopback,  # without encryption, certificates are read in vain
        "event_hooks": {"request": [_strip(key, headers, keep_open)]},
    }


def _strip(key: Key, headers: Collection[str], keep_open: bool) -> Callable[[Any], None]:
    def strip(request: Any) -> None:  # noqa: ANN401 - of an extra
        for name in list(request.headers):
            if name.lower() not in headers:
                del request.headers[name]
        if not keep_open:
            # A connection for each request: none is left open, and none has gone stale after a pause.
            request.headers["connection"] = "close"
        if key.secret:
            request.headers["authorization"] = f"Bearer {key.secret}"
        elif "authorization" in request.headers:
            del request.headers["authorization"]

    return strip
