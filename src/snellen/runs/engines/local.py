"""The engine of several processes on this machine: this very interpreter, started as workers that talk over pipes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, BinaryIO, cast

from snellen.core.errors import InputError, WorkerError
from snellen.runs.engines.engine import Numbered, OpenJobs
from snellen.runs.engines.frames import Frame, Kind, error_of, read_frame, write_frame

#: ``-P``: a file in the current folder that is called like a module is not that module.
_COMMAND = ("-P", "-X", "faulthandler", "-m", "snellen.runs.engines.worker")

#: Results that may wait for each worker until somebody takes them.
_WAITING = 3

#: Last characters of a worker's output that a message repeats.
_TAIL = 600


#: Environment of a worker, where nobody says otherwise. Threads of torch sleep while they wait, numpy's linear algebra
#: has one, and the C library of Linux keeps memory between batches: handing it back, and clearing it again, takes a
#: tenth of an audit.
_SETTINGS = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": str(512 * 2**20),
    "MALLOC_MMAP_THRESHOLD_": str(512 * 2**20),
}


class Local:
    """Worker processes on this machine. They are started once, and always end with this process.

    Args:
        processes: how many.
    """

    def __init__(self, processes: int) -> None:
        if processes < 1:
            raise InputError(f"there must be at least 1 process, got {processes}")
        self._processes = processes

    def run(self, work: str, setup: Mapping[str, Any], jobs: Iterable[Numbered]) -> Generator[Numbered, None, None]:
        """See :class:`~snellen.runs.engines.engine.Engine`."""
        crew = _Crew(self._processes, json.dumps({"work": work, "setup": setup}).encode(), jobs)
        try:
            yield from crew.results()
        finally:
            crew.end()


class _Crew:
    """Some workers, and for each a thread that gives it one job after the other.

    Threads, because a worker that is done is to get its next job while the results of others are still being written.
    """

    def __init__(self, size: int, setup: bytes, jobs: Iterable[Numbered]) -> None:
        self._setup, self._given, self._jobs, self._asking = setup, jobs, iter(jobs), threading.Lock()
        self._outcomes: SimpleQueue[Numbered | BaseException | None] = SimpleQueue()
        self._room, self._size = threading.Semaphore(_WAITING * size), size
        self._ending, self._alive = False, set[_Worker]()
        self._threads = [threading.Thread(target=self._serve, args=(n + 1,), daemon=True) for n in range(size)]

    def results(self) -> Iterator[Numbered]:
        """Start, and give results as they come. Raises a worker's error, or that it died."""
        for thread in self._threads:
            thread.start()
        serving = self._size
        while serving:
            outcome = self._outcomes.get()
            if isinstance(outcome, BaseException):
                raise outcome
            if outcome is None:
                serving -= 1
            else:
                yield outcome
                self._room.release()

    def end(self) -> None:
        """End all workers at once, and wait until they are gone."""
        self._ending = True
        self._room.release(self._size)
        if isinstance(self._given, OpenJobs):
            self._given.end()
        for worker in list(self._alive):
            worker.kill()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _serve(self, place: int) -> None:
        try:
            job, tries = self._next(), 0
            while job is not None:
                tries += 1
                with _Worker(f"worker {place}", self._setup) as worker:
                    self._alive.add(worker)
                    if self._ending:
                        return
                    try:
                        worker.begin()
                        while job is not None:
                            result = worker.answer(job)
                            self._outcomes.put((job[0], result))
                            job, tries = self._next(), 1
                    except _DiedError as death:
                        if self._ending:
                            return
                        if not death.working or tries > 1:
                            raise WorkerError(str(death)) from None
                    finally:
                        self._alive.discard(worker)
        except BaseException as error:  # to be raised where the results are taken
            self._outcomes.put(error)
        finally:
            self._outcomes.put(None)

    def _next(self) -> Numbered | None:
        self._room.acquire()
        with self._asking:
            return None if self._ending else next(self._jobs, None)


class _DiedError(Exception):
    def __init__(self, message: str, *, working: bool) -> None:
        super().__init__(message)
        self.working = working


class _Worker:
    """One process."""

    def __init__(self, name: str, setup: bytes) -> None:
        self._setup, self._printed = setup, tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        # A process group of its own: Ctrl-C in a terminal is for this process, which ends its workers itself.
        group: dict[str, Any] = {"process_group": 0} if os.name == "posix" else {"creationflags": 0x200}
        self._process = subprocess.Popen(  # noqa: S603 - this very interpreter, with words of ours
            [sys.executable, *_COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._printed,
            env={**_SETTINGS, **os.environ},
            **group,
        )
        self.name = f"{name} (process {self._process.pid})"

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_raised: object) -> None:
        with suppress(OSError):
            self._in.close()  # at which the worker ends
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
        self._out.close()
        self._printed.close()

    def kill(self) -> None:
        """End it at once; it has nothing that could be left half-written."""
        self._process.kill()

    def begin(self) -> None:
        """Send the setup and wait until the worker is ready."""
        self._exchange(Frame(Kind.SETUP, self._setup), "before it could begin")

    def answer(self, job: Numbered) -> bytes:
        """Send a job and wait for its result."""
        return self._exchange(Frame(Kind.JOB, job[1]), f"twice in piece {job[0] + 1} of the work", working=True)

    @property
    def _in(self) -> BinaryIO:
        return cast("BinaryIO", self._process.stdin)

    @property
    def _out(self) -> BinaryIO:
        return cast("BinaryIO", self._process.stdout)

    def _exchange(self, frame: Frame, when: str, *, working: bool = False) -> bytes:
        reply = None
        with suppress(OSError):
            write_frame(self._in, frame)
            reply = read_frame(self._out)
        if reply is None:
            raise _DiedError(f"{self.name} ended {when}: {self._how()}", working=working)
        if reply.kind is Kind.ERROR:
            raise error_of(reply.content, self.name)
        return reply.content

    def _how(self) -> str:
        """How the process ended, and its last output."""
        try:
            code = self._process.wait(10)
        except subprocess.TimeoutExpired:
            return "it answers no more"
        how = f"exit status {code}"
        if code < 0:
            how = f"signal {-code} ({signal.strsignal(-code)})"
            if -code == signal.SIGKILL:
                how += ", which the system sends when memory is short"
        self._printed.seek(0)
        printed = self._printed.read().decode(errors="replace").strip()
        return f"{how}{'; its last output: …' if printed else ''}{printed[-_TAIL:]}"
