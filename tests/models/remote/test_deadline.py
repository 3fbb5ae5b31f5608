"""The whole time of a request: its connection is cut, and no other one."""

import socket
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from snellen.models.remote.connection import Deadline
from tests.models.remote.timers_by_hand import TimersByHand


@pytest.fixture
def timers(monkeypatch: pytest.MonkeyPatch) -> TimersByHand:
    return TimersByHand(monkeypatch)


def connect(deadline: Deadline, near: socket.socket, event: str = "connection.connect_tcp.complete") -> None:
    deadline.seen(event, {"return_value": SimpleNamespace(get_extra_info=lambda name: {"socket": near}[name])})


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        far.setblocking(False)
        yield near, far


def is_open(far: socket.socket) -> bool:
    try:
        return far.recv(1) != b""
    except BlockingIOError:
        return True


@pytest.mark.parametrize("event", ["connection.connect_tcp.complete", "proxy.start_tls.complete"])
def test_the_connection_is_cut_when_the_time_is_over(timers: TimersByHand, pair: tuple, event: str) -> None:
    deadline = Deadline()
    with deadline.within(7) as over:
        connect(deadline, pair[0], event)
        assert is_open(pair[1])
        timers.fire()
        assert over.is_set()
        assert not is_open(pair[1])
    assert timers.seconds == [7]


def test_a_connection_that_stands_too_late_is_cut_at_once(timers: TimersByHand, pair: tuple) -> None:
    deadline = Deadline()
    with deadline.within(7):
        timers.fire()
        connect(deadline, pair[0])
        assert not is_open(pair[1])


def test_a_connection_that_is_kept_is_cut_too(timers: TimersByHand, pair: tuple) -> None:
    deadline = Deadline()
    with deadline.within(7):
        connect(deadline, pair[0])
    with deadline.within(7) as over:
        timers.fire()
        assert over.is_set()
    assert not is_open(pair[1])


def test_a_request_that_is_over_cuts_nothing(timers: TimersByHand, pair: tuple) -> None:
    deadline = Deadline()
    with deadline.within(7) as first:
        connect(deadline, pair[0])
    timers.fire()
    with deadline.within(7) as second:
        timers.fire(0)
        assert not first.is_set()
        assert not second.is_set()
        assert is_open(pair[1])


def test_a_closed_connection_is_no_error(timers: TimersByHand, pair: tuple) -> None:
    deadline = Deadline()
    with deadline.within(7) as over:
        timers.fire()
        assert over.is_set(), "nothing is connected yet"
    with deadline.within(7) as over:
        connect(deadline, pair[0])
        pair[0].close()
        timers.fire()
        assert over.is_set()


def test_the_timer_runs_by_itself(pair: tuple) -> None:
    deadline = Deadline()
    with deadline.within(0.01) as over:
        connect(deadline, pair[0])
        assert over.wait(60)
        pair[1].setblocking(True)
        assert pair[1].recv(1) == b""
