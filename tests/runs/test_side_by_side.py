"""Threads of one process that measure side by side: results, progress, errors, and an end without waiting."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from queue import Empty

import pytest

from snellen.core.progress import Silent
from snellen.runs.side_by_side import side_by_side

#: The exception that ends a thread may meet a callback of the garbage collector; then Python drops it with a warning.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class Steps(Silent):
    """Adds up progress, and the threads that it came from."""

    def __init__(self):
        self.total, self.threads = 0.0, set()

    def advance(self, task, amount, note=""):
        self.total += amount
        self.threads.add(threading.get_ident())


def doubling(piece, progress):
    progress.advance("pieces", 1)
    return 2 * piece


def test_every_piece_once_by_functions_that_work_at_the_same_time():
    both = threading.Barrier(2, timeout=600)

    def together(piece, progress):
        both.wait()  # passes only when two pieces are measured at once
        return doubling(piece, progress)

    steps = Steps()
    found = dict(side_by_side(range(6), [together, together], steps))
    assert found == {piece: 2 * piece for piece in range(6)}
    assert steps.total == 6
    assert steps.threads == {threading.get_ident()}, "listeners are called by the thread that waits"


def test_each_function_measures_one_piece_at_a_time():
    busy = [threading.Lock(), threading.Lock()]

    def alone(number):
        def measured(piece, progress):
            assert busy[number].acquire(blocking=False), "called again before it had ended"
            try:
                return doubling(piece, progress)
            finally:
                busy[number].release()

        return measured

    assert len(dict(side_by_side(range(50), [alone(0), alone(1)], Silent()))) == 50


def test_an_error_ends_the_others_at_their_next_step():
    failed, steps = threading.Event(), []

    def failing(piece, progress):
        if piece == 0:
            failed.set()
            raise ValueError("broken")
        failed.wait(30)
        for step in range(10**6):
            steps.append(step)
            progress.advance("pieces", 1)
        return piece

    with pytest.raises(ValueError, match="broken"):
        dict(side_by_side(range(5), [failing, failing], Silent()))
    assert len(steps) < 10**6


def test_a_piece_that_reports_nothing_ends_as_well():
    begun, ended = threading.Event(), []

    def endless(piece, progress):
        if piece == 0:
            begun.wait(30)
            return piece
        begun.set()
        try:
            while True:
                sum(range(100))
        finally:
            ended.append(piece)

    with closing(side_by_side(range(2), [endless, endless], Silent())) as results:
        assert next(results) == (0, 0)
    assert ended == [1], "closing waits until the other thread has left its piece"


@pytest.mark.parametrize("reports", [True, False])
def test_a_piece_ends_even_when_python_drops_the_first_exception_that_should_end_it(monkeypatch, reports):
    monkeypatch.setattr("snellen.runs.side_by_side.AGAIN", 0.1)
    begun, dropped, ended = threading.Event(), [], []

    class Destroyed:
        def __del__(self):
            begun.set()
            try:
                while True:
                    sum(range(100))
            except BaseException as error:
                dropped.append(type(error).__name__)
                raise

    def stubborn(piece, progress):
        if piece == 0:
            begun.wait(30)
            return piece
        try:
            Destroyed()
            while True:
                progress.advance("pieces", 1) if reports else sum(range(100))
        finally:
            ended.append(piece)

    with closing(side_by_side(range(2), [stubborn, stubborn], Silent())) as results:
        assert next(results) == (0, 0)
    assert dropped == ["_Stopped"]
    assert ended == [1]


def test_who_leaves_early_waits_for_no_piece_that_has_not_begun():
    begun = []

    def noting(piece, progress):
        begun.append(piece)
        time.sleep(0.001)
        return piece

    with closing(side_by_side(range(1000), [noting], Silent())) as results:
        next(results)
    assert len(begun) < 1000


def test_an_empty_queue_of_somebody_elses_is_an_error_like_any_other():
    def broken(piece, progress):
        raise Empty

    with pytest.raises(Empty):
        dict(side_by_side(range(3), [broken, broken], Silent()))
