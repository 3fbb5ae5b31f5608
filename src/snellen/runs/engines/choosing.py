"""Which engine, with how many processes and threads each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from snellen.core.errors import InputError, unknown_name
from snellen.core.run import read_manifest
from snellen.runs.engines.engine import Engine
from snellen.runs.engines.local import Local
from snellen.runs.engines.machine import usable_cores, usable_memory
from snellen.runs.engines.ray_cluster import Ray

#: Names of the engines.
ENGINES = ("in_process", "local", "ray")

#: Processes on this machine where nobody says how many: as many as cores, at most these. Each holds the model.
MOST_PROCESSES = 8

#: Seconds of one core until a worker has imported everything and loaded model and images (docs/benchmarks.md).
START_SECONDS = 3.0

#: Workers that nobody requested must save at least so many times what it takes to start them: torch's threads in this
#: process gain something as well, and a short call must not become slower.
WORTH = 5.0

#: Seconds of one core from which on threads of this process work side by side: they cost no start, but more shards.
WORTH_LANES = 2.0

#: Share of the memory that all processes together may be expected to need.
MEMORY_SHARE = 0.7


@dataclass(frozen=True)
class Chosen:
    """What runs the work.

    Attributes:
        engine: None for this process.
        threads: of torch in each process, here too.
        processes: that work side by side, as far as it is known beforehand.
        lanes: threads of this process that work side by side, each with so many threads of torch.
        why: it was chosen, in words; empty where it was named.
    """

    engine: Engine | None
    threads: int
    processes: int = 1
    why: str = ""
    lanes: int = 1

    @property
    def at_once(self) -> int:
        """Pieces that are measured side by side."""
        return max(self.processes, self.lanes)

    @contextmanager
    def threads_set(self) -> Iterator[None]:
        """Let torch work with so many threads in this process, too, inside a ``with`` block."""
        before = torch.get_num_threads()
        if before != self.threads:
            torch.set_num_threads(self.threads)
        try:
            yield
        finally:
            if before != self.threads:
                torch.set_num_threads(before)


@dataclass(frozen=True)
class Load:
    """Work that is to be done somewhere, as far as it can be counted beforehand. No clock is in it.

    Attributes:
        seconds: of one core, for all of it.
        pieces: into which it can be cut.
        memory: bytes that each process needs.
    """

    seconds: float
    pieces: int
    memory: int


def choose_processes(load: Load, *, threads: int | None = None, obstacle: str | None = None) -> Chosen:
    """Workers of this machine where they save more than they cost, else this process with torch's threads.

    The number of threads can change last digits and is part of a plan, so nothing here depends on a clock or on what
    else the machine does: the same call chooses the same again. No more cores are used than torch may use in this
    process: ``OMP_NUM_THREADS=1`` or ``torch.set_num_threads(1)`` keeps everything in it.

    Args:
        load: what is to be done.
        threads: of each process; None: torch's own number, divided among the processes.
        obstacle: why workers cannot do it; None: they can.

    Raises:
        InputError: fewer than one thread.
    """
    _check_counts(threads=threads)
    here = Chosen(None, threads or torch.get_num_threads())
    cores, many, fitting, each = _room(load, threads)
    saved = load.seconds * (1 - 1 / max(fitting, 1))
    if obstacle is None:
        obstacle = (
            f"it may use {cores} core{'s' * (cores > 1)}, with {here.threads} threads in each process"
            if cores // (threads or 1) < 2
            else "the work is one piece"
            if many < 2
            else f"a second one would need {load.memory / 2**30:.1f} GiB of memory as well"
            if fitting < 2
            else f"all of it is about {load.seconds:.0f} s of one core, and workers take {START_SECONDS:.0f} s to start"
            if saved < WORTH * START_SECONDS
            else None
        )
    if obstacle is not None:
        return replace(here, why=f"this process: {obstacle}")
    why = f"{fitting} processes of this machine: they divide about {load.seconds:.0f} s of one core"
    return Chosen(Local(fitting), each, fitting, why)


def choose_lanes(load: Load, *, threads: int | None = None, why: str) -> Chosen:
    """Threads of this process that work side by side, for work that no other process could load.

    Args:
        load: what is to be done; its memory is what each thread needs.
        threads: of torch in each of them; None: torch's own number, divided among them.
        why: no other process does it.
    """
    _, many, fitting, each = _room(load, threads)
    if many < 2 or fitting < 2 or load.seconds < WORTH_LANES:
        return choose_processes(load, threads=threads, obstacle=why)
    return Chosen(None, each, 1, f"{fitting} threads of this process: {why}", fitting)


def _room(load: Load, threads: int | None) -> tuple[int, int, int, int]:
    """Cores that may be used; how many may work side by side, for cores and pieces, and for memory; threads of each."""
    allowed, memory = torch.get_num_threads(), usable_memory()
    cores = min(_cores(), allowed)
    many = min(cores // (threads or 1), MOST_PROCESSES, load.pieces)
    fitting = many if memory is None or not load.memory else min(many, int(MEMORY_SHARE * memory / load.memory))
    return cores, many, fitting, threads or max(1, allowed // max(many, 1))


def choose_engine(
    engine: str | Engine,
    *,
    processes: int | None = None,
    threads: int | None = None,
    address: str | None = None,
    gpu: bool = False,
) -> Chosen:
    """Make an engine from its name.

    >>> choose_engine("in_process", threads=1)
    Chosen(engine=None, threads=1, processes=1, why='', lanes=1)

    Args:
        engine: one of :data:`ENGINES`, or an engine.
        processes: of ``local`` and ``ray``; None: one for each core, at most :data:`MOST_PROCESSES`, or on a cluster
            as many as fit.
        threads: of each process; None: torch's own number, divided among the processes of this machine; 1 on a cluster.
        address: of a Ray cluster, which is not started then.
        gpu: whether each process needs one.

    Raises:
        InputError: options that do not belong to the engine, or are below 1.
    """
    _check_counts(processes=processes, threads=threads)
    if not isinstance(engine, str):
        if processes is not None or address is not None:
            raise InputError("an engine that is handed in knows its own processes and address")
        return Chosen(engine, threads or torch.get_num_threads())
    if engine not in ENGINES:
        raise unknown_name("engine", engine, ENGINES)
    if address is not None and engine != "ray":
        raise InputError(f"an address is that of a Ray cluster: it goes with the engine ray, not with {engine}")
    if engine == "in_process":
        if processes not in (None, 1):
            raise InputError(f"the engine in_process is one process; for {processes} use the engine local (or ray)")
        return Chosen(None, threads or torch.get_num_threads())
    if address is not None:
        each = threads or 1
        return Chosen(Ray(processes, threads=each, gpus=int(gpu), address=address), each, processes or 1)
    many = processes or max(1, min(_cores() // (threads or 1), MOST_PROCESSES))
    each = threads or max(1, torch.get_num_threads() // many)
    return Chosen(Local(many) if engine == "local" else Ray(many, threads=each, gpus=int(gpu)), each, many)


def recorded(folder: Path) -> tuple[int | None, dict[str, int]]:
    """Threads, and shards by set, of a run in this folder; of none where there is no run that says so."""
    try:
        plan = read_manifest(folder)
        threads, shards = plan["threads"], plan["shards"]
        return int(threads), {str(name): int(count) for name, count in shards.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None, {}


def _check_counts(**counts: int | None) -> None:
    for name, value in counts.items():
        if value is not None and value < 1:
            raise InputError(f"{name} must be at least 1, got {value}")


def _cores() -> int:
    """Processor cores that this process may use."""
    return usable_cores()
