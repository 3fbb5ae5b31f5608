"""Pieces that threads of this process measure side by side: for what no other process could load.

Operations of torch leave the interpreter to other threads while they compute. On two cores two threads, each with one
thread of torch, take 0.6 of the time of one; torch's own two threads in one pass take 0.8, and more of the processor.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Generator, Sequence
from contextvars import Context, copy_context
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

from snellen.core.progress import Progress

T = TypeVar("T")
R = TypeVar("R")


# Seconds until a thread that measures on is stopped once more.
AGAIN = 2.0


class _Stopped(SystemExit):
    """Ends a piece whose result nobody waits for any more; a thread that it ends says nothing of it."""


class _Lane(Thread, Generic[T, R]):
    """Measures pieces one after the other; its progress goes to the thread that waits, which alone calls listeners.

    Args:
        measure: what measures a piece.
        pieces: that are left to do, for all lanes.
        messages: steps, results and errors.
    """

    def __init__(
        self,
        measure: Callable[[T, Progress], R],
        pieces: SimpleQueue[T],
        messages: SimpleQueue[tuple[str, float, str] | tuple[T, R] | BaseException],
    ) -> None:
        super().__init__(name="snellen-measuring", daemon=True)
        self._measure, self._pieces, self._messages = measure, pieces, messages
        # What the caller may do holds here, too: the context says which hosts are allowed, and what was sent.
        self._context: Context = copy_context()
        self._stopped = False

    def run(self) -> None:
        """Measure as long as there are pieces."""
        try:
            while (piece := self._next()) is not None:
                self._messages.put((piece, self._context.run(self._measure, piece, self)))
        except _Stopped:
            return
        except BaseException as error:  # of any kind: the thread that waits must know
            self._messages.put(error)

    def _next(self) -> T | None:
        if self._stopped:
            return None
        try:
            return self._pieces.get_nowait()
        except Empty:
            return None

    def begin(self, task: str, total: float) -> None:
        """Ignore: the tasks have begun."""

    def advance(self, task: str, amount: float, note: str = "") -> None:
        """Pass the step on.

        Raises:
            _Stopped: nobody waits for the piece any more.
        """
        if self._stopped:
            raise _Stopped
        self._messages.put((task, amount, note))

    def finish(self, task: str) -> None:
        """Ignore: others may work on the task."""

    def stop(self) -> None:
        """End it between two operations, or at its next step: nobody waits for its result.

        Python drops an exception that meets a destructor or a callback of the garbage collector, so one is not enough.
        A thread that has ended gave its number back.
        """
        self._stopped = True
        if self.is_alive() and self.ident is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self.ident), ctypes.py_object(_Stopped))


def side_by_side(
    pieces: Sequence[T], measures: Sequence[Callable[[T, Progress], R]], progress: Progress
) -> Generator[tuple[T, R], None, None]:
    """Measure pieces, each by one of several functions that run in threads of their own, in any order.

    Args:
        pieces: what is measured.
        measures: for each thread, what measures a piece; each is called for one piece at a time.
        progress: receives every step, from the calling thread.

    Yields:
        A piece and what was measured, as soon as it is there.

    Raises:
        BaseException: what a function raised. The other threads end at their next operation, as they do when the
            caller leaves.
    """
    messages = SimpleQueue[tuple[str, float, str] | tuple[T, R] | BaseException]()
    waiting = SimpleQueue[T]()
    for piece in pieces:
        waiting.put(piece)
    lanes = [_Lane(measure, waiting, messages) for measure in measures]
    left = len(pieces)
    try:
        for lane in lanes:
            lane.start()
        while left:
            message = messages.get()
            if isinstance(message, BaseException):
                raise message
            if len(message) == 3:
                progress.advance(*message)
            else:
                left -= 1
                yield message
    finally:
        if left:
            for lane in lanes:
                lane.stop()
        for lane in lanes:
            while lane.ident is not None and lane.is_alive():
                lane.join(AGAIN)
                if left:
                    lane.stop()
