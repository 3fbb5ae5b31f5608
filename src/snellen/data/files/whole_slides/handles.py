"""Open slides: one of each for each thread, few at a time, and none left behind."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    """What can be open."""

    def close(self) -> None:
        """Close it."""
        ...


Handle = TypeVar("Handle", bound=Closable)


class _Held(Generic[Handle]):
    """A handle that is not closed while it is in use."""

    def __init__(self, key: str, handle: Handle) -> None:
        self.key, self.handle, self.lock, self.open = key, handle, threading.Lock(), True

    def close(self) -> None:
        with self.lock:
            if self.open:
                self.open = False
                self.handle.close()


class Handles(Generic[Handle]):
    """Handles by key; each thread has its own, and closes the least recently used.

    Args:
        kept: handles that stay open in a thread.
    """

    def __init__(self, *, kept: int = 4) -> None:
        self._kept, self._own = kept, threading.local()
        # Of a thread that has ended, the handles are closed when they are collected.
        self._all: weakref.WeakSet[_Held[Handle]] = weakref.WeakSet()
        self._lock = threading.Lock()

    @contextmanager
    def using(self, key: str, opening: Callable[[str], Handle]) -> Iterator[Handle]:
        """This thread's handle of a key; one that fails inside the ``with`` block is closed, the next one is new.

        Args:
            key: what is open.
            opening: key → open handle, called where this thread has none.
        """
        own: OrderedDict[str, _Held[Handle]] = self._own.__dict__.setdefault("handles", OrderedDict())
        held = own.pop(key, None)
        if held is None or not held.open:
            held = _Held(key, opening(key))
            with self._lock:
                self._all.add(held)
        try:
            with held.lock:
                if not held.open:
                    raise RuntimeError(f"{key} was closed while it was read")
                yield held.handle
        except BaseException:
            held.close()
            raise
        own[key] = held
        while len(own) > self._kept:
            own.popitem(last=False)[1].close()

    def close(self, key: str | None = None) -> None:
        """Close the handles of a key, or all, of every thread; what is read afterwards is opened anew."""
        with self._lock:
            held = [one for one in self._all if key is None or one.key == key]
        for one in held:
            one.close()

    @property
    def open_count(self) -> int:
        """Handles that are open now, of all threads."""
        with self._lock:
            return sum(one.open for one in self._all)
