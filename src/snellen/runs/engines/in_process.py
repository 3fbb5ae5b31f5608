"""The engine of one process: this one. Nothing is started, nothing is sent anywhere."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from typing import Any

from snellen.runs.engines.engine import Numbered, open_work


class InProcess:
    """Does jobs one after the other, in their order."""

    def run(self, work: str, setup: Mapping[str, Any], jobs: Iterable[Numbered]) -> Generator[Numbered, None, None]:
        """See :class:`~snellen.runs.engines.engine.Engine`."""
        do = open_work(work, setup)
        for number, job in jobs:
            yield number, do(job)
