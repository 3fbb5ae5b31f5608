"""Whether a call is only rehearsed, to say what it would cost: nothing is written then, and nothing is sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from snellen.core.errors import UnsentError

_rehearsing: ContextVar[bool] = ContextVar("rehearsing", default=False)


@contextmanager
def rehearsal() -> Iterator[None]:
    """Inside the block, calls are rehearsed.

    >>> with rehearsal():
    ...     rehearsing()
    True
    >>> rehearsing()
    False
    """
    token = _rehearsing.set(True)
    try:
        yield
    finally:
        _rehearsing.reset(token)


def rehearsing() -> bool:
    """Whether this call is only rehearsed."""
    return _rehearsing.get()


def check_may_send(url: str) -> None:
    """Refuse to send anything while a call is rehearsed.

    Raises:
        UnsentError: it is.
    """
    if rehearsing():
        raise UnsentError(f"nothing is sent to {url} while a call is only planned")
