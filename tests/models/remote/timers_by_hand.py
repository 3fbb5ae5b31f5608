"""Timers that run when a test says so."""

import threading
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from snellen.models.remote import connection


class TimersByHand:
    """What the module starts as timers; none runs by itself."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds: list[float] = []
        self._ends: list[Callable[[], None]] = []
        names = {"Event": threading.Event, "Lock": threading.Lock, "Timer": self._timer}
        monkeypatch.setattr(connection, "threading", SimpleNamespace(**names))

    def _timer(self, seconds: float, end: Callable[[], None]) -> SimpleNamespace:
        self.seconds.append(seconds)
        self._ends.append(end)
        return SimpleNamespace(start=lambda: None, cancel=lambda: None)

    def fire(self, place: int = -1) -> None:
        """The time of one is over, of the last one unless told otherwise."""
        self._ends[place]()
