"""Options for where a command runs: in this process, in several, on a cluster, or a part of it here and now."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from snellen.cli.privacy_options import BudgetOption
from snellen.cli.run_options import RUN_PANEL, AllowRejectedOption

if TYPE_CHECKING:
    from snellen.runs.runner import Running


class EngineName(StrEnum):
    """Where shards are measured."""

    in_process = "in_process"
    local = "local"
    ray = "ray"


EngineOption = Annotated[
    EngineName,
    typer.Option(
        help="Where shards are measured: here, in processes of this machine, or on Ray. Changes no result.",
        rich_help_panel=RUN_PANEL,
    ),
]

ChosenEngineOption = Annotated[
    EngineName | None,
    typer.Option(
        help="Where shards are measured: here, in processes of this machine, or on Ray. Changes no result.",
        show_default="local where that saves time, else in_process",
        rich_help_panel=RUN_PANEL,
    ),
]

DefaultEngineOption = Annotated[
    EngineName | None,
    typer.Option(
        help="Where shards are measured: here, in processes of this machine, or on Ray. Changes no result.",
        show_default="threads of this process",
        rich_help_panel=RUN_PANEL,
    ),
]

ProcessesOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Processes of the engines local and ray.",
        show_default="one for each core",
        rich_help_panel=RUN_PANEL,
    ),
]

AddressOption = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="A running Ray cluster. File names, labels and figures go there.",
        show_default="one of this machine is started",
        rich_help_panel=RUN_PANEL,
    ),
]

ShardsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Pieces that the run is cut into; a killed run loses one.",
        show_default="8 batches each",
        rich_help_panel=RUN_PANEL,
    ),
]

ThreadsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Threads of each process.",
        show_default="as many as cores, divided among processes",
        rich_help_panel=RUN_PANEL,
    ),
]

PartOption = Annotated[
    str | None,
    typer.Option(
        metavar="I/N",
        help="Measure the I-th of N parts into --out and stop: for job arrays. The same command without it finishes.",
        show_default="all",
        rich_help_panel=RUN_PANEL,
    ),
]


DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Print what it would cost, measured on a few images, and stop. Nothing is written.",
        rich_help_panel=RUN_PANEL,
    ),
]


def placement(
    engine: DefaultEngineOption = None,
    processes: ProcessesOption = None,
    address: AddressOption = None,
    threads: ThreadsOption = None,
    allow_rejected: AllowRejectedOption = False,
) -> Running:
    """The options that say where a command runs on all of its images, as arguments of its verb."""
    return {
        "engine": None if engine is None else engine.value,
        "processes": processes,
        "address": address,
        "threads": threads,
        "allow_rejected": allow_rejected,
    }


def running(
    engine: DefaultEngineOption = None,
    processes: ProcessesOption = None,
    address: AddressOption = None,
    threads: ThreadsOption = None,
    part: PartOption = None,
    budget: BudgetOption = None,
    allow_rejected: AllowRejectedOption = False,
) -> Running:
    """The options that say where and how long a command runs, as arguments of its verb."""
    return {**placement(engine, processes, address, threads, allow_rejected), "part": part, "budget": budget}


@contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """Inside a ``with`` block, treat SIGTERM, which schedulers send, like Ctrl-C."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # only that one may say what a signal does
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
