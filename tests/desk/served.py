"""A desk in a process of its own, as snellen ui starts it, and requests to it."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_START = [sys.executable, "-c", "from snellen.cli import main; main()", "ui"]


class ServedDesk:
    """A started desk.

    Attributes:
        process: that serves.
        link: as it printed it.
        port: that it listens at.
        printed: all that it printed before it was ready.
    """

    def __init__(self, process: subprocess.Popen, printed: str) -> None:
        self.process, self.printed = process, printed
        self.link = re.search(r"http://\S+", printed)[0]
        self.base = self.link.split("/?")[0]
        self.port = int(self.base.rsplit(":", 1)[1])
        self.token = self.link.split("token=")[1]

    def ask(
        self, method: str, path: str, values: object = None, client: http.client.HTTPConnection | None = None
    ) -> dict:
        """One request with the cookie; JSON back. Needs sockets."""
        own = client or http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        headers = {
            "cookie": f"snellen-desk-{self.port}={self.token}", "origin": self.base, "accept": "application/json",
            "content-type": "application/json",
        }  # fmt: skip
        own.request(method, path, None if values is None else json.dumps(values), headers)
        response = own.getresponse()
        content = response.read()
        if client is None:
            own.close()
        found = json.loads(content) if response.headers.get("content-type", "").startswith("application/json") else {}
        return {"status": response.status, **found}


@contextmanager
def served(folder: Path, *more: str) -> Iterator[ServedDesk]:
    """A desk over a folder, until the end of the block."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen([*_START, str(folder), *more], stdout=subprocess.PIPE, stderr=errors, text=True)
        printed, until = "", time.monotonic() + 60
        while "Ctrl-C" not in printed and time.monotonic() < until:
            line = process.stdout.readline()
            printed += line
            if not line and process.poll() is not None:
                errors.seek(0)
                raise AssertionError(f"the desk did not start: {printed}{errors.read().decode()}")
        try:
            yield ServedDesk(process, printed)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
