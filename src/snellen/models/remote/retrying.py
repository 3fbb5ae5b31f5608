"""Ask again after a failure that may pass, and say in words what a failure is that does not."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from snellen.core.errors import InputError, ModelError, UnreachableError
from snellen.models.remote.connection import Key

#: Longest time that a server may ask us to wait (``Retry-After``), and longest back-off, seconds.
LONGEST_WAIT = 60.0

#: Longest timeout, seconds; sockets know none without end.
LONGEST_TIMEOUT = 86_400.0

_log = logging.getLogger(__name__)

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for.

    Attributes:
        timeout: seconds after which a request has failed.
        retries: how often a request is sent again.
        backoff: seconds before the first repetition; each further one waits twice as long.
    """

    timeout: float
    retries: int
    backoff: float

    def __post_init__(self) -> None:
        if not 0 < self.timeout <= LONGEST_TIMEOUT or self.retries < 0 or not self.backoff >= 0:
            raise InputError(
                f"timeout > 0, retries ≥ 0 and backoff ≥ 0 are needed, and a timeout of at most {LONGEST_TIMEOUT:g} s; "
                f"got {self.timeout}, {self.retries} and {self.backoff}"
            )


@dataclass(frozen=True)
class Failure:
    """Why a request got no answer.

    Attributes:
        reason_given: the message of the server or the connection, without the key.
        status: of HTTP; None when there was no answer at all.
        timed_out: whether the time was up.
        retry_after: seconds that the server wants a client to wait, as its header has them.
    """

    reason_given: str
    status: int | None = None
    timed_out: bool = False
    retry_after: str | None = None

    @property
    def may_pass(self) -> bool:
        """Whether the same request may be answered later: 408, 409, 429, 5xx, no connection."""
        return self.status is None or self.status in (408, 409, 429) or self.status >= 500


class FailedRequestError(Exception):
    """One attempt that failed."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason_given)
        self.failure = failure


def answered(
    send: Callable[[int], Answer], *, patience: Patience, url: str, explain: Callable[[Failure], Exception]
) -> Answer:
    """Send until there is an answer, or the patience is at its end.

    Args:
        send: one attempt, which is given its number from 1 on; raises :class:`FailedRequestError`.
        patience: how often.
        url: of the server, for the log.
        explain: the error that a last failure becomes.
    """
    for attempt in range(patience.retries + 1):
        try:
            return send(attempt + 1)
        except FailedRequestError as error:
            failure = error.failure
            if attempt == patience.retries or not failure.may_pass:
                raise explain(failure) from None
            wait = wait_before(attempt, patience.backoff, failure.retry_after)
            _log.info("%s: %s; again in %.1f s", url, failure.status or "no answer", wait)
            time.sleep(wait)
    raise AssertionError("a loop that always returns or raises")


def wait_before(attempt: int, backoff: float, retry_after: str | None) -> float:
    """Seconds until the next attempt: what the server requests, or twice as long each time.

    >>> wait_before(2, 0.5, None), wait_before(2, 0.5, "7"), wait_before(2, 0.5, "100000")
    (2.0, 7.0, 60.0)
    """
    try:
        wait = float(retry_after or "nan")
    except ValueError:  # a date, in the calendar of HTTP
        wait = math.nan
    # Long before the 32nd attempt every wait is the longest; a power without end is no number.
    return min(wait if wait >= 0 else backoff * 2.0 ** min(attempt, 32), LONGEST_WAIT)


def explained(failure: Failure, *, url: str, model: str, key: Key, patience: Patience) -> InputError | ModelError:
    """What went wrong, and how to mend it.

    Returns:
        InputError where the server refuses the request: the key, the model's name, or something in it; ModelError where
        it sends elsewhere, or answers with nothing; UnreachableError where it cannot be reached, or does not recover.
    """
    tries = f" ({patience.retries + 1} attempts)" if patience.retries and failure.may_pass else ""
    status, reason_given = failure.status, failure.reason_given
    if failure.timed_out:
        return UnreachableError(f"{url} did not answer within {patience.timeout:g} s{tries}; raise timeout")
    if status is None:
        return UnreachableError(f"{url} cannot be reached{tries}: {reason_given}. Is the server running?")
    if status in (401, 403):
        return InputError(f"{url} refuses the key ({reason_given}); {key.described}")
    if status == 404:
        return InputError(f"{url} knows no model {model!r}, or no such interface ({reason_given})")
    if 200 <= status < 300:
        return ModelError(f"{url} answers with status {status}, where 200 is expected ({reason_given})")
    if 300 <= status < 400:
        return ModelError(f"{url} sends elsewhere ({status}), which is not followed; give the address itself")
    if failure.may_pass:
        return UnreachableError(f"{url} does not recover{tries}: {reason_given}")
    return InputError(f"{url} refuses the request: {reason_given}")
