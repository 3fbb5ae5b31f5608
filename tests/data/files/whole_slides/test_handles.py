"""Handles: one for each thread, few, closed, and never closed in use."""

from __future__ import annotations

import gc
import threading

import pytest

from snellen.data.files.whole_slides.handles import Handles


class Opened:
    made: list[Opened]

    def __init__(self, key: str) -> None:
        self.key, self.closed, self.thread = key, 0, threading.get_ident()

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def made() -> list[Opened]:
    return []


def opener(made: list[Opened]):
    def opening(key: str) -> Opened:
        made.append(Opened(key))
        return made[-1]

    return opening


def test_a_thread_keeps_few_and_reuses_them(made: list[Opened]) -> None:
    handles: Handles[Opened] = Handles(kept=2)
    for key in "aabacb":
        with handles.using(key, opener(made)) as held:
            assert (held.key, held.closed) == (key, 0)
    assert [one.key for one in made] == ["a", "b", "c", "b"]
    assert [one.closed for one in made] == [1, 1, 0, 0]
    assert handles.open_count == 2
    handles.close("c")
    assert [one.closed for one in made] == [1, 1, 1, 0]
    handles.close()
    handles.close()
    assert [one.closed for one in made] == [1, 1, 1, 1]
    with handles.using("b", opener(made)) as held:
        assert held is made[4]


def test_each_thread_has_its_own(made: list[Opened]) -> None:
    handles: Handles[Opened] = Handles()
    barrier = threading.Barrier(3)

    def use() -> None:
        for _ in range(3):
            with handles.using("a", opener(made)) as held:
                assert held.thread == threading.get_ident()
                barrier.wait(timeout=600)

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=600)
    assert len(made) == 3
    del threads
    gc.collect()
    assert handles.open_count == 0  # their threads are gone; OpenSlide closes a handle that is collected


def test_one_that_fails_is_closed_and_opened_anew(made: list[Opened]) -> None:
    handles: Handles[Opened] = Handles()
    with pytest.raises(ValueError, match="damaged"), handles.using("a", opener(made)):
        raise ValueError("damaged")
    assert made[0].closed == 1
    with handles.using("a", opener(made)) as held:
        assert held is made[1]


def test_closing_waits_for_who_reads(made: list[Opened]) -> None:
    handles: Handles[Opened] = Handles()
    with handles.using("a", opener(made)) as held:
        closing = threading.Thread(target=handles.close)
        closing.start()
        closing.join(timeout=0.05)
        assert closing.is_alive()
        assert held.closed == 0
    closing.join(timeout=600)
    assert made[0].closed == 1
