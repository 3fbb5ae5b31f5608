"""Pieces that threads of this process measure side by side: for what no other process could load.

Operations of torch leave the interpreter to other threads while they compute. On two cores two threads, each with one
thread of torch, take 0.6 of the time of one; torch's own two threads in one pass take 0.8, and more of the processor.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from queue import SimpleQueue
from typing import Generic, TypeVar

from snellen.core.progress import Progress

T = TypeVar("T")
R = TypeVar("R")


class _Stopped(BaseException):
    """Ends a piece whose result nobody waits for any more."""


class _Relayed(Generic[R]):
    """Progress of a piece, which the thread that waits passes on: listeners are called by one thread alone."""

    def __init__(self, messages: SimpleQueue[tuple[str, float, str] | Future[R]]) -> None:
        self._messages, self.stopped = messages, False

    def begin(self, task: str, total: float) -> None:
        """Ignore: the tasks have begun."""

    def advance(self, task: str, amount: float, note: str = "") -> None:
        """Pass the step on, or end the piece."""
        if self.stopped:
            raise _Stopped
        self._messages.put((task, amount, note))

    def finish(self, task: str) -> None:
        """Ignore: others may work on the task."""


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
        Exception: what a function raised. The other threads end at their next step, as they do when the caller leaves.
    """
    messages: SimpleQueue[tuple[str, float, str] | Future[R]] = SimpleQueue()
    relayed, idle = _Relayed(messages), SimpleQueue[Callable[[T, Progress], R]]()
    for one in measures:
        idle.put(one)

    def measured(piece: T) -> R:
        measure = idle.get()
        try:
            return measure(piece, relayed)
        finally:
            idle.put(measure)

    with ThreadPoolExecutor(len(measures), "snellen-measuring") as pool:
        try:
            # Each in a copy of the caller's context, which holds what is allowed and where is written what was sent.
            waiting = {pool.submit(copy_context().run, measured, piece): piece for piece in pieces}
            for future in waiting:
                future.add_done_callback(messages.put)
            while waiting:
                message = messages.get()
                if isinstance(message, tuple):
                    progress.advance(*message)
                else:
                    yield waiting.pop(message), message.result()
        finally:
            relayed.stopped = True
            pool.shutdown(wait=False, cancel_futures=True)
