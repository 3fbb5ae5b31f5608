"""Which engine, with how many processes and threads each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from snellen.core.errors import InputError, unknown_name
from snellen.core.run import read_manifest
from snellen.runs.engines.engine import Engine
from snellen.runs.engines.local import Local
from snellen.runs.engines.ray_cluster import Ray

#: Names of the engines.
ENGINES = ("in_process", "local", "ray")

#: Processes on this machine where nobody says how many: as many as cores, at most these. Each holds the model.
MOST_PROCESSES = 8


@dataclass(frozen=True)
class Chosen:
    """What runs the work.

    Attributes:
        engine: None for this process.
        threads: of torch in each process, here too.
        processes: that work side by side, as far as it is known beforehand.
    """

    engine: Engine | None
    threads: int
    processes: int = 1

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
    Chosen(engine=None, threads=1, processes=1)

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
    for name, value in (("processes", processes), ("threads", threads)):
        if value is not None and value < 1:
            raise InputError(f"{name} must be at least 1, got {value}")
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


def _cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
