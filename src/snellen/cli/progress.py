"""Progress in a terminal, on standard error."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def loading(what: str) -> AbstractContextManager[object]:
    """A spinner for work whose length nobody knows; silent when nobody watches."""
    console = Console(stderr=True)
    return console.status(what) if console.is_terminal else nullcontext()


class TerminalProgress:
    """A bar with a percentage, what is happening, and the time that remains; silent when nobody watches."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> TerminalProgress:
        if self._bars.console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._bars.stop()

    def begin(self, task: str, total: float) -> None:
        """Show a bar."""
        self._tasks[task] = self._bars.add_task(task, total=total, note="")

    def advance(self, task: str, amount: float, note: str = "") -> None:
        """Move it."""
        self._bars.update(self._tasks[task], advance=amount, note=note)

    def finish(self, task: str) -> None:
        """Take it away."""
        self._bars.remove_task(self._tasks.pop(task))
