"""Who measures an audit for which nobody named an engine: processes of this machine where that pays, else this one."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

import torch

from snellen.auditing.shard_work import ShardWork
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, ModelError, SnellenError, UnsupportedError, WorkerError
from snellen.core.shared_copy import is_touched
from snellen.runs.engines.choosing import Chosen, Load, choose_lanes, choose_processes
from snellen.runs.engines.engine import Engine, Numbered
from snellen.runs.engines.lanes import fits_lanes
from snellen.runs.engines.machine import used_memory
from snellen.runs.engines.pass_cost import pass_cost

#: Shards for each process: the last to end then keeps the others waiting for a small part of the time, and the first
#: ones soon show an accuracy.
SHARDS_EACH = 8


class WorkersFailedError(WorkerError):
    """Workers that Snellen chose by itself failed; this process can still do the work."""


class Volunteers:
    """An engine that Snellen chose by itself. Failures of its workers are separated from errors of the work itself.

    Args:
        engine: that does the work.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def run(self, work: str, setup: Mapping[str, Any], jobs: Iterable[Numbered]) -> Generator[Numbered, None, None]:
        """See :class:`~snellen.runs.engines.engine.Engine`.

        Raises:
            WorkersFailedError: a worker could not begin, found other files than this process, or died twice.
        """
        with closing(self._engine.run(work, setup, jobs)) as results:
            while True:
                try:
                    result = next(results, None)
                except (SnellenError, OSError) as error:
                    raise WorkersFailedError(str(error)) from error
                if result is None:
                    return
                yield result


def default_crew(
    work: ShardWork, *, threads: int | None = None, seconds: float | None = None, part: str | None = None
) -> Chosen:
    """Who measures; see :func:`~snellen.runs.engines.choosing.choose_processes`.

    Args:
        work: that is to be done.
        threads: of each process, where somebody says so or a run has them.
        seconds: a budget, which the work will not exceed.
        part: of the work that this call does, where others do the rest.
    """
    obstacle = "it measures one part of a run" if part is not None else _obstacle(work)
    pieces = sum(-(-len(images) // work.batch_size) for images in work.sets.values())
    passes = sum(sum(work.cost(name).values()) * len(images) for name, images in work.sets.items())
    # Parts of a run may be measured by machines with other cores, and must have as many shards.
    undivided = part is not None or torch.get_num_threads() < 2
    if undivided or (obstacle is not None and not _fits_threads(work)):  # nothing need be counted
        return choose_processes(Load(0, pieces, 0), threads=threads, obstacle=obstacle)
    each = pass_cost(_copied(work.classifier))
    total = passes * each.seconds
    # What backward passes keep until they are done; a worker holds beside it what this process holds.
    kept = work.batch_size * each.kept if work.classifier.differentiable else 0
    load = Load(total if seconds is None else min(total, seconds), pieces, kept)
    if obstacle is not None:
        return choose_lanes(load, threads=threads, why=obstacle)
    chosen = choose_processes(replace(load, memory=used_memory() + kept), threads=threads)
    return chosen if chosen.engine is None else replace(chosen, engine=Volunteers(chosen.engine))


def _obstacle(work: ShardWork) -> str | None:
    """Why this process must do the work; None where workers can."""
    classifier = work.classifier
    if classifier.sent_to is not None:
        return f"{classifier.sent_to} computes the scores"
    if classifier.device.type != "cpu":
        return f"the model runs on {classifier.device.type}"
    if torch.get_num_threads() < 2:  # which is reason enough
        return None
    try:
        found = work.reopening().obstacle()
    except InputError as error:
        return str(error).split(": ")[0]
    if found is not None:
        return found.why
    if classifier.module is not None and is_touched(classifier.module):
        return f"somebody's hooks or functions are attached to {classifier.name}, and workers would not have them"
    return "torch is set otherwise than it is by itself, and workers would not know" if _is_set_otherwise() else None


def _copied(classifier: Classifier) -> Classifier:
    """A copy, where there can be one: a pass may leave something in a network that cannot be copied any more."""
    try:
        return classifier.twin()
    except (UnsupportedError, ModelError):
        return classifier


def _fits_threads(work: ShardWork) -> bool:
    """Whether several threads of this process can do the work."""
    if not fits_lanes(work.classifier):
        return False
    try:
        work.twin()
    except (UnsupportedError, ModelError):
        return False
    return True


def _is_set_otherwise() -> bool:
    """Whether settings of torch in this process may change scores."""
    return (
        torch.get_default_dtype() != torch.float32
        or torch.are_deterministic_algorithms_enabled()
        or torch.get_float32_matmul_precision() != "highest"
        or not torch.backends.mkldnn.is_available()
        or not torch.backends.mkldnn.enabled
    )


def without_workers(chosen: Chosen, error: WorkerError) -> Chosen:
    """The same crew when its workers have failed: this process, with as many threads as each of them had."""
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    return Chosen(None, chosen.threads, 1, f"this process, after its workers had failed: {first}")
