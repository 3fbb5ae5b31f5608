"""The engine of a Ray cluster: actors that hold the work, given one job after the other.

Without an address a cluster of this machine alone is started and ended again: reachable from this machine only, behind
a token that nobody else has, without dashboard and without statistics of use. With an address nothing is started.

Ray itself pickles what it carries. What we give it is the class below, which it finds by its name, and bytes.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import secrets
import signal
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from snellen.core.errors import InputError, WorkerError, import_extra
from snellen.runs.engines.engine import Numbered, Work, open_work
from snellen.runs.engines.frames import Kind, error_frame, error_of
from snellen.runs.engines.worker import answer

#: Token of every cluster that this process starts: Ray keeps the first that it reads.
_TOKEN = secrets.token_hex(32)

#: What Ray reads when it is imported and when it starts. The last one, made for other systems, has Ray use 127.0.0.1.
_SETTINGS = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": _TOKEN,
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}

#: Ray tries this often to reach a cluster, for some 40 seconds each time; by itself 20 times.
_PATIENCE = {"RAY_NUM_REDIS_GET_RETRIES": "1"}

_LOOPBACK = "127.0.0.1"

#: Of clusters. Ray knows more: "local" starts one, and what stands before "://" is a module that it imports.
_ADDRESS = re.compile(r"auto|[^\s/:]+:[0-9]{1,5}|\[[0-9a-fA-F:.]+\]:[0-9]{1,5}")

#: Shared memory of a cluster that is started here, bytes; jobs and results are small, and more of them spill to disk.
_OBJECT_STORE = 256 * 2**20

#: Characters of Ray's text about a dead worker that a message repeats.
_SHOWN = 600


class Ray:
    """Actors on a Ray cluster.

    Args:
        processes: how many; None on a cluster with an address: as many as fit into it now.
        threads: processor cores for each.
        gpus: GPUs for each.
        address: ``HOST:PORT`` of a running cluster, or "auto"; None starts one on this machine.

    Raises:
        InputError: an address of another form, which might start a cluster, or no number of processes.
        MissingExtraError: Ray is not installed.
    """

    def __init__(self, processes: int | None, *, threads: int = 1, gpus: int = 0, address: str | None = None) -> None:
        if address is not None and not _ADDRESS.fullmatch(address):
            raise InputError(f"the address of a Ray cluster is HOST:PORT or auto, got {address!r}")
        if processes is None and address is None:
            raise InputError("a Ray cluster of this machine needs a number of processes")
        if find_spec("ray") is None:  # imported later, under settings of its own
            import_extra("ray", "ray", "the engine 'ray'")
        self._processes, self._threads, self._gpus, self._address = processes, threads, gpus, address

    def run(self, work: str, setup: Mapping[str, Any], jobs: Iterable[Numbered]) -> Generator[Numbered, None, None]:
        """See :class:`~snellen.runs.engines.engine.Engine`."""
        with self._connected() as ray:
            kind = ray.remote(num_cpus=self._threads, num_gpus=self._gpus, max_restarts=0)(Actor)
            described = json.dumps({"work": work, "setup": setup})
            crew = _Crew(ray, lambda: kind.remote(described), self._fitting(ray), self._threads)
            yield from _dealt(ray, crew, jobs)

    def _fitting(self, ray: ModuleType) -> int:
        """How many actors to start. More than fit would wait for ever."""
        have = ray.cluster_resources()
        fit = int(have.get("CPU", 0)) // self._threads
        if self._gpus:
            fit = min(fit, int(have.get("GPU", 0)) // self._gpus)
        wanted = fit if self._processes is None else self._processes
        if not 0 < wanted <= fit:
            raise InputError(
                f"the Ray cluster has room for {fit} processes with {self._threads} cores and {self._gpus} GPUs each, "
                f"not for {max(wanted, 1)}; ask for fewer with --processes, or for fewer --threads"
            )
        return wanted

    @contextmanager
    def _connected(self) -> Iterator[ModuleType]:
        with ExitStack() as stack:
            options: dict[str, Any] = {"address": self._address}
            if self._address is not None:
                stack.enter_context(
                    _environment({name: os.environ.get(name, usual) for name, usual in _PATIENCE.items()})
                )
            if self._address is None:
                stack.enter_context(_environment(_SETTINGS))
                folder = stack.enter_context(_own_folder())
                options = {
                    "address": "local",
                    "num_cpus": (self._processes or 1) * self._threads,
                    "include_dashboard": False,
                    "object_store_memory": _OBJECT_STORE,
                    "_temp_dir": f"{folder}/ray",  # which Ray opens to everybody
                }
            ray = importlib.import_module("ray")
            if ray.is_initialized():
                raise InputError(
                    "this process is connected to Ray already; call ray.shutdown() first, and give the address of "
                    "its cluster if that is to be used"
                )
            stack.enter_context(_on_standard_error())
            stack.enter_context(_handlers_kept())  # it is replaced at the end as well
            stack.callback(ray.shutdown)
            with _handlers_kept():
                try:
                    ray.init(log_to_driver=False, logging_level="ERROR", **options)
                except Exception as error:  # Ray raises errors of many kinds
                    raise InputError(_not_there(self._address, error)) from error
            if self._address is None and not _guarded(ray):
                raise InputError(
                    "Ray was imported before with other settings, and would open a cluster to the network; start "
                    "Python anew, or give the address of a cluster"
                )
            yield ray


def _not_there(address: str | None, error: Exception) -> str:
    if address is None:
        return f"a Ray cluster could not be started: {error}"
    return (
        f"the Ray cluster at {address} is not reached ({error}); see that it runs (ray start --head), that it "
        f"may be reached from here, and that RAY_AUTH_MODE and RAY_AUTH_TOKEN are those of the cluster"
    )


def _own_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder that nobody else may enter, with a short name: that of a socket has 107 bytes at most."""
    short = "/tmp" if os.path.isdir("/tmp") else None  # noqa: S108 - made anew, with mode 0700
    return tempfile.TemporaryDirectory(prefix="snellen-", dir=short, ignore_cleanup_errors=True)


class Actor:
    """One worker; answers in the frames of the engine ``local``, so that no exception is pickled."""

    def __init__(self, described: str) -> None:
        self._described = described
        self._work: Work | None = None

    def answer(self, job: bytes) -> tuple[str, bytes]:
        """Kind and content of the reply. The work is opened with the first job."""
        if self._work is None:
            setup = json.loads(self._described)
            try:
                self._work = open_work(setup["work"], setup["setup"])
            except Exception as error:  # any error goes to the other side
                frame = error_frame(error)
                return frame.kind.name, frame.content
        frame = answer(self._work, job)
        return frame.kind.name, frame.content


class _Crew:
    """Actors of a cluster: those that wait for a job, how many there are, and how many there should be.

    Args:
        ray: the package.
        start: starts an actor.
        wanted: how many there should be.
        threads: cores that each takes.
    """

    def __init__(self, ray: ModuleType, start: Callable[[], Any], wanted: int, threads: int) -> None:
        self._ray, self._start, self._wanted, self._threads = ray, start, wanted, threads
        self.idle = [start() for _ in range(wanted)]
        self._alive = wanted

    def lost(self) -> None:
        """Count one less."""
        self._alive -= 1

    def filled(self) -> None:
        """Replace actors that are gone where there is room: a node may have gone with them.

        Raises:
            WorkerError: no actor is left, and no node that has room for one.
        """
        while self._alive < self._wanted:
            room = self._ray.available_resources().get("CPU", 0) >= self._threads
            if not room and self._alive:
                return  # those that are left do the rest
            if not room and self._ray.cluster_resources().get("CPU", 0) < self._threads:
                raise WorkerError(f"no node with {self._threads} cores is left in the Ray cluster")
            self.idle.append(self._start())
            self._alive += 1


def _dealt(ray: ModuleType, crew: _Crew, jobs: Iterable[Numbered]) -> Iterator[Numbered]:
    """Give each actor a job, and another as soon as it is done; the job of one that dies is given once more."""
    waiting, returned, given = iter(jobs), deque[tuple[Numbered, int]](), dict[Any, tuple[Any, Numbered, int]]()
    while True:
        while crew.idle:
            again = returned.popleft() if returned else None
            job = next(waiting, None) if again is None else again[0]
            if job is None:
                break
            actor = crew.idle.pop()
            given[actor.answer.remote(job[1])] = (actor, job, 1 if again is None else again[1])
        if not given:
            return
        done, _ = ray.wait(list(given))
        ready, _ = ray.wait(list(given), num_returns=len(given), timeout=0)
        results = []
        for reference in dict.fromkeys((*done, *ready)):
            actor, job, tries = given.pop(reference)
            try:
                reply, content = ray.get(reference)
            except ray.exceptions.RayActorError as error:
                if tries > 1:
                    text = " ".join(str(error).split())[:_SHOWN]
                    raise WorkerError(f"a worker ended twice in piece {job[0] + 1} of the work: {text}") from None
                returned.append((job, tries + 1))
                crew.lost()
                continue
            if reply == Kind.ERROR.name:
                raise error_of(content, "a worker of Ray")
            crew.idle.append(actor)
            results.append((job[0], content))
        crew.filled()
        yield from results


def _guarded(ray: ModuleType) -> bool:
    """Whether the cluster that was started listens on this machine only, and requires the token."""
    raylet = importlib.import_module("ray._raylet")
    token = raylet.get_authentication_mode() == raylet.AuthenticationMode.TOKEN
    return bool(token and ray.util.get_node_ip_address() == _LOOPBACK)


@contextmanager
def _environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Set variables inside a ``with`` block."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _on_standard_error() -> Iterator[None]:
    """Ray says that a worker died on standard output, where a report may be read: ``--json``."""
    worker = importlib.import_module("ray._private.worker")
    usual = worker.print_to_stdstream

    def on_standard_error(line: Mapping[str, Any], *arguments: object, **options: object) -> None:
        usual({**line, "is_err": True}, *arguments, **options)

    worker.print_to_stdstream = on_standard_error  # type: ignore[attr-defined]
    try:
        yield
    finally:
        worker.print_to_stdstream = usual  # type: ignore[attr-defined]


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Ray replaces the answer to SIGTERM; ours stays."""
    if threading.current_thread() is not threading.main_thread() or sys.platform == "win32":
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
