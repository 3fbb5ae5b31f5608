"""The engine of one process: this one. Nothing is started, nothing is sent anywhere."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from typing import Any

from snellen.runs.engines.engine import Numbered, Work, open_work


class InProcess:
    """Does jobs one after the other, in their order.

    >>> list(InProcess(bytes.upper).run("", {}, [(0, b"a"), (1, b"b")]))
    [(0, b'A'), (1, b'B')]

    Args:
        ready: what does the work, where it is loaded already; else it is made by its name.
    """

    def __init__(self, ready: Work | None = None) -> None:
        self._ready = ready

    def run(self, work: str, setup: Mapping[str, Any], jobs: Iterable[Numbered]) -> Generator[Numbered, None, None]:
        """See :class:`~snellen.runs.engines.engine.Engine`."""
        do = self._ready or open_work(work, setup)
        for number, job in jobs:
            yield number, do(job)
