"""Time the desk: starts, filters and orders of 1,000,000 rows, and memory with them. Figures of docs/desk.md.

``python scripts/measure_desk.py [ROWS]``. It prints seconds by the clock, and of processors: those hold on a
busy machine. The rows are written in another process, so that the memory is what the desk needs.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from snellen.desk.desk import Desk
from tests.desk.made_runs import Caller, write_run
from tests.desk.served import served

STARTS = 5

#: Queries of the gallery, each sent twice.
QUERIES = {
    "no filter": "", "class": "label=1", "outcome": "outcome=wrong", "confidence": "low=0.4&high=0.6",
    "group": "group=site%201", "part of a name": "text=12345", "a corruption": "setting=corruption/fog.3&under=wrong",
    "order by confidence": "sort=-confidence", "order by name": "sort=-id", "order by brightness": "sort=brightness",
}  # fmt: skip


def main(rows: int = 1_000_000) -> int:
    """Measure, and print."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        with get_context("spawn").Pool(1) as other:
            other.apply(_write, (place / "large", rows))
        for _ in range(STARTS):
            began, used = time.monotonic(), _of_children()
            with served(place):
                took = time.monotonic() - began
            print(f"start: {took:.2f} s, of processors {_of_children() - used:.2f} s", flush=True)
        print(f"memory before a desk: {_memory():.0f} MB")
        desk = Desk(place)
        caller, (run,) = Caller(desk), desk.workplace.runs()
        _timed("page of the gallery", lambda: caller.get(f"/runs/{run.id}/gallery").status)
        for name, query in QUERIES.items():
            for again in ("first", "again"):
                page = "&offset=100" if again == "again" else ""
                _timed(f"{name}, {again}", lambda q=query + page: caller.get(f"/runs/{run.id}/rows", q).json()["total"])
        print(f"memory with {rows:,} rows: {_memory():.0f} MB")
        desk.close()
    return 0


def _write(folder: Path, rows: int) -> None:
    write_run(folder, [f"images/{number:07d}.png" for number in range(rows)])


def _timed(what: str, ask: Callable[[], object]) -> None:
    began, used = time.monotonic(), time.process_time()
    found = ask()
    print(
        f"{what}: {time.monotonic() - began:.2f} s, of processors {time.process_time() - used:.2f} s ({found})",
        flush=True,
    )


def _of_children() -> float:
    found = resource.getrusage(resource.RUSAGE_CHILDREN)
    return found.ru_utime + found.ru_stime


def _memory() -> float:
    """What the process holds, 10^6 bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:2])))
