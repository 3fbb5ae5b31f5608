"""Progress in a terminal, on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING

from snellen.core.process_start import end_start

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID


@contextmanager
def loading(what: str) -> Iterator[Spinner | None]:
    """A spinner for work whose length nobody knows yet; silent when nobody watches. The command has started then."""
    from rich.console import Console

    console = Console(stderr=True, emoji=False)
    shown: AbstractContextManager[Spinner | None] = Spinner(console, what) if console.is_terminal else nullcontext()
    try:
        with shown as spinner:
            yield spinner
    finally:
        end_start()


class Spinner:
    """A spinner that says how far a task is, once one begins."""

    def __init__(self, console: Console, what: str) -> None:
        self._status, self._what = console.status(what), what
        self._task, self._total, self._done = "", 0.0, 0.0

    def __enter__(self) -> Spinner:
        self._status.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._status.stop()

    def begin(self, task: str, total: float) -> None:
        """Name the task."""
        self._task, self._total, self._done = task, total, 0.0
        self._show()

    def advance(self, task: str, amount: float, note: str = "") -> None:
        """Count; a note may be the name of a file, and is not shown."""
        self._done += amount
        self._show()

    def finish(self, task: str) -> None:
        """Say again what all of it is."""
        self._status.update(self._what)

    def _show(self) -> None:
        self._status.update(f"{self._what}: {self._task}, {self._done:g} of {self._total:g}")


class TerminalProgress:
    """A bar with a percentage, what is happening, and the time that remains; silent when nobody watches."""

    def __init__(self) -> None:
        # Help pages show no bar, and need not load one.
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),  # may be the name of a file or of a class
            console=Console(stderr=True, emoji=False),
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> TerminalProgress:
        end_start()  # of commands that load nothing before
        if self._bars.console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._bars.stop()

    def begin(self, task: str, total: float) -> None:
        """Show a bar; a task that begins again begins at nothing."""
        if task in self._tasks:
            self.finish(task)
        self._tasks[task] = self._bars.add_task(task, total=total, note="")

    def advance(self, task: str, amount: float, note: str = "") -> None:
        """Move it."""
        self._bars.update(self._tasks[task], advance=amount, note=note)

    def finish(self, task: str) -> None:
        """Take it away."""
        self._bars.remove_task(self._tasks.pop(task))
