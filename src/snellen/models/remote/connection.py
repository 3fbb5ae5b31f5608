"""How a client connects: no redirect, no proxy on the way to this machine, and no header but those that are listed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from snellen.models.remote.address import ServerUrl
from snellen.models.remote.key import Key

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
        keep_open: use a connection for several requests; whoever opens the client then has to close it.
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
