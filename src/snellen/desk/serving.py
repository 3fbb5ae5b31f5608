"""Serving a desk to this machine alone."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snellen.core.errors import InputError, import_extra
from snellen.desk.desk import Desk

#: The one address that a desk listens at.
LOOPBACK = "127.0.0.1"


@dataclass(eq=False)
class Served:
    """A desk that is ready to be served.

    Attributes:
        desk: what it shows.
        link: with the token; anyone who has it can do what the desk can.
        server: of uvicorn.
        listening: its socket.
    """

    desk: Desk
    link: str
    server: Any
    listening: socket.socket

    def run(self) -> None:
        """Serve until interrupted; then stop the jobs."""
        try:
            self.server.run(sockets=[self.listening])
        finally:
            self.desk.jobs.close()

    def stop(self) -> None:
        """End :meth:`run`, from another thread."""
        self.server.should_exit = True


def prepared(folder: Path, store: Path | None = None, port: int = 0, token: str | None = None) -> Served:
    """Open a desk, and a port of this machine for it.

    Args:
        folder: that holds the runs, or a run.
        store: folder of the desk's own files; None: beside the runs.
        port: to listen at; 0: one that is free.
        token: secret of this start; None: a new one.

    Raises:
        MissingExtraError: starlette or uvicorn is not installed.
        InputError: no such folder, or the port is taken.
    """
    import_extra("starlette", "ui", "the desk")
    import_extra("uvicorn", "ui", "the desk")
    desk = Desk(folder, store)
    try:
        return served(desk, port, token)
    except InputError:
        desk.close()
        raise


def served(desk: Desk, port: int = 0, token: str | None = None) -> Served:
    """Open a port of this machine for a desk; arguments and errors as :func:`prepared`."""
    import_extra("starlette", "ui", "the desk")
    uvicorn = import_extra("uvicorn", "ui", "the desk")
    from snellen.desk.app import desk_app

    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((LOOPBACK, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise InputError(f"port {port} cannot be used ({error.strerror}); leave out --port for a free one") from error
    secret, taken = token or secrets.token_urlsafe(32), listening.getsockname()[1]
    settings = uvicorn.Config(
        desk_app(desk, secret, taken),
        # Addresses would stand in the log, the first of them with the token.
        access_log=False,
        log_level="warning",
        lifespan="off",
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=2,
        proxy_headers=False,
        ws="none",
    )
    return Served(desk, f"http://{LOOPBACK}:{taken}/?token={secret}", uvicorn.Server(settings), listening)


Shown = Callable[[Served], None]


def serve(folder: Path, shown: Shown, store: Path | None = None, port: int = 0) -> None:
    """Serve a desk until interrupted.

    Args:
        folder: as :func:`prepared`.
        shown: is given the desk once its port is open.
        store: as :func:`prepared`. port: as :func:`prepared`.
    """
    desk = prepared(folder, store, port)
    shown(desk)
    desk.run()
