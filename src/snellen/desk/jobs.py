"""Commands that the desk starts: this very interpreter with a module of ours, which ends when the desk ends."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from snellen.core.errors import InputError
from snellen.desk.export import shell_line

#: How a job is started. It reads its standard input, and stops once nobody holds the other end.
_COMMAND = ("-P", "-X", "faulthandler", "-m", "snellen.cli.job_process")

#: Commands that may be started.
STARTED = ("audit", "treat")

#: Jobs that run at once, characters of their output that are shown, and seconds that one has to stop by itself.
MOST, _TAIL, _PATIENCE = 2, 20_000, 10.0

#: What colours a terminal, which a page does not.
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")

State: TypeAlias = Literal["running", "done", "failed", "stopped"]


@dataclass(eq=False)
class Job:
    """One command.

    Attributes:
        id: its name in addresses.
        words: the command, ``snellen`` first.
        out: folder that it writes; None for one that only prints.
        log: file with what it prints.
        started: seconds since 1970.
    """

    id: str
    words: tuple[str, ...]
    out: Path | None
    log: Path
    started: float
    _process: subprocess.Popen[bytes] = field(repr=False)
    _stop_requested: bool = False
    _ended: float | None = None

    @property
    def line(self) -> str:
        """The command as a shell reads it."""
        return shell_line(self.words)

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        found = self._process.poll()
        if found is not None and self._ended is None:
            self._ended = time.time()
            self._let_go()
        return found

    @property
    def state(self) -> State:
        """What became of it."""
        code = self.code
        if code is None:
            return "running"
        if self._stop_requested:
            return "stopped"
        return "done" if code == 0 else "failed"

    @property
    def seconds(self) -> float:
        """For how long it ran, or has run."""
        running = self.code is None
        return (time.time() if running or self._ended is None else self._ended) - self.started

    def output(self) -> str:
        """The last of what it printed, without what colours a terminal."""
        try:
            with self.log.open("rb") as stream:
                stream.seek(max(self.log.stat().st_size - _TAIL, 0))
                found = stream.read(_TAIL)
        except OSError:
            return ""
        return _CONTROL.sub("", found.decode("utf-8", "replace"))

    def _let_go(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()

    def stop(self) -> None:
        """Close its input, at which it stops as after Ctrl-C and can be resumed; after a while, end it."""
        if self.code is not None:
            return
        self._stop_requested = True
        self._let_go()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Jobs:
    """The commands that this desk started.

    Args:
        store: folder of the desk's own files.
        folder: in which commands run.
    """

    def __init__(self, store: Path, folder: Path) -> None:
        self._store, self._folder = store, folder
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._closed = False

    def all(self) -> list[Job]:
        """The jobs, the latest first."""
        with self._lock:
            return sorted(self._jobs.values(), key=lambda job: -job.started)

    def get(self, name: str) -> Job | None:
        """The job with this id; None without such a one."""
        with self._lock:
            return self._jobs.get(name)

    def start(self, words: Sequence[str], out: Path | None) -> Job:
        """Start a command.

        Raises:
            InputError: no command that a desk starts, or too many run.
        """
        if len(words) < 2 or words[0] != "snellen" or words[1] not in STARTED:
            raise InputError(f"the desk starts snellen {' and snellen '.join(STARTED)} alone")
        with self._lock:
            if self._closed:
                raise InputError("the desk is closing")
            if sum(job.state == "running" for job in self._jobs.values()) >= MOST:
                raise InputError(f"{MOST} jobs run already; wait for one, or stop one")
            if out is not None and any(job.out == out and job.state == "running" for job in self._jobs.values()):
                raise InputError(f"a job that runs already writes {out}")
            name = secrets.token_hex(6)
            log = self._store / "jobs" / f"{name}.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            job = Job(name, tuple(words), out, log, time.time(), _started(words[1:], log, self._folder))
            self._jobs[name] = job
            return job

    def close(self) -> None:
        """Stop all of them."""
        with self._lock:
            self._closed = True
            jobs = list(self._jobs.values())
        threads = [threading.Thread(target=job.stop) for job in jobs]
        for one in threads:
            one.start()
        for one in threads:
            one.join()


def _started(words: Sequence[str], log: Path, folder: Path) -> subprocess.Popen[bytes]:
    # A process group of its own: Ctrl-C in a terminal is for the desk, which stops its jobs itself.
    group: dict[str, Any] = {"process_group": 0} if os.name == "posix" else {"creationflags": 0x200}
    environment: Mapping[str, str] = {**os.environ, "COLUMNS": "120", "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as printed:
        return subprocess.Popen(  # noqa: S603 - this very interpreter, with words that no shell reads
            [sys.executable, *_COMMAND, *words],
            stdin=subprocess.PIPE,
            stdout=printed,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment,
            **group,
        )
