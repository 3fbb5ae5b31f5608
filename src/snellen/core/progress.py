"""How long-running work reports its progress, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A receiver of progress updates: a terminal bar, a web page, a test."""

    def begin(self, task: str, total: float) -> None:
        """Start a task of ``total`` units of work."""
        ...

    def advance(self, task: str, amount: float, note: str = "") -> None:
        """Report ``amount`` units of a task done; ``note`` says what is happening now."""
        ...

    def finish(self, task: str) -> None:
        """Close a task."""
        ...


class Silent:
    """A listener that does nothing: the default of every Python call."""

    def begin(self, task: str, total: float) -> None:
        """Ignore."""

    def advance(self, task: str, amount: float, note: str = "") -> None:
        """Ignore."""

    def finish(self, task: str) -> None:
        """Ignore."""
