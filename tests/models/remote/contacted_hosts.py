"""Who is asked for: hosts that somebody looks up, or connects to, inside a block; none is reached."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def contacted_hosts() -> Iterator[list[str]]:
    """A block and no fixture: the guard of the test suite, which is replaced here, ends before fixtures do."""
    hosts: list[str] = []

    def lookup(host: object, *_arguments: object, **_options: object) -> None:
        hosts.append(host.decode() if isinstance(host, bytes) else str(host))
        raise socket.gaierror(f"no {host}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", lookup)
        patch.setattr(socket, "create_connection", lambda address, *_arguments, **_options: lookup(address[0]))
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            patch.delenv(name, raising=False)
        yield hosts
