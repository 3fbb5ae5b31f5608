"""What an engine is: jobs of bytes go in, results of bytes come out, in any order.

*Work* is a name, ``module:function``, and a setup of JSON values. The function is called once in each worker with the
setup, and gives what turns the bytes of a job into the bytes of its result. Nothing is pickled by us: a worker makes
everything that it needs from names.
"""

from __future__ import annotations

import importlib
import operator
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

#: What a worker does with each job.
Work = Callable[[bytes], bytes]

#: Number of a job, and its bytes; or the number and the bytes of its result.
Numbered = tuple[int, bytes]


@runtime_checkable
class OpenJobs(Protocol):
    """Jobs that may become more: taking the next one waits for it."""

    def end(self) -> None:
        """Let nobody wait any more: no further job comes."""
        ...


class Engine(Protocol):
    """Runs jobs. Its workers end when the generator is exhausted or closed, or raises."""

    def run(self, work: str, setup: Mapping[str, Any], jobs: Iterable[Numbered]) -> Generator[Numbered, None, None]:
        """Results of all jobs, in any order.

        Args:
            work: ``module:function``.
            setup: JSON values for the function.
            jobs: each with a number of its own; taken one by one, as workers become free, perhaps from another thread.

        Raises:
            SnellenError: what the work raised, or a worker died (:class:`~snellen.core.errors.WorkerError`).
        """
        ...


def open_work(work: str, setup: Mapping[str, Any]) -> Work:
    """Find the function of this name and call it with the setup."""
    opened: Work = attribute_of(work)(setup)
    return opened


def attribute_of(name: str) -> Any:  # noqa: ANN401 - an attribute of any type
    """Import what ``module:attribute`` names, such as ``snellen.verbs.attack_shards:Work.again``."""
    module, _, path = name.partition(":")
    return operator.attrgetter(path)(importlib.import_module(module))


class InProcess:
    """Does jobs one after the other, in their order."""

    def run(self, work: str, setup: Mapping[str, Any], jobs: Iterable[Numbered]) -> Generator[Numbered, None, None]:
        """See :class:`~snellen.runs.engines.engine.Engine`."""
        do = open_work(work, setup)
        for number, job in jobs:
            yield number, do(job)
