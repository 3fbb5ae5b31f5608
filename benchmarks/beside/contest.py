"""One comparison: our way and those of peers to one result, timed in turn by the processor's clock.

A contest holds calls that take no arguments. Each runs once, so that results can be compared and files, compilers and
caches are warm; then all take turns, nobody always first, and the ratio is taken within each round.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

#: A call that takes less is repeated within a round, up to MOST times.
SHORT, MOST = 0.1, 100

#: A first run of so many seconds counts as a round: what it warms up does not show.
LONG = 5.0

#: What a contender gives, ours and theirs → whether they are equal, and the comparison in words.
Verdict = Callable[[Any, Any], tuple[bool, str]]


@dataclass(frozen=True)
class Peer:
    """Another package's way.

    Attributes:
        package: as it is installed; its version is recorded.
        call: gives what is compared.
        note: what is not as in our call, in words; a row with a note is not called equal.
        version: of a package in another environment.
    """

    package: str
    call: Callable[[], Any]
    note: str = ""
    version: str | None = None


@dataclass(frozen=True)
class Contest:
    """What is done, by whom, and how results are compared.

    Attributes:
        what: the task and its size.
        ours: our call.
        peers: label → peer. Labels are the names of packages where there is one way each.
        verdict: compares our result with a peer's.
        repeats: rounds.
        part: belongs to a total that has a row of its own.
        clock: seconds of the processor; of this process, if it does the work.
    """

    what: str
    ours: Callable[[], Any]
    peers: Mapping[str, Peer]
    verdict: Verdict
    repeats: int = 5
    part: bool = False
    clock: Callable[[], float] = time.process_time


def why_missing(module: str) -> str | None:
    """Why a module cannot be imported; None: it can."""
    try:
        importlib.import_module(module)
    except Exception as error:  # some packages fail at import in ways of their own
        return _why(error)
    return None


def rows(contest: Contest) -> Iterator[dict[str, Any]]:
    """Measure a contest: a row for each peer."""
    calls = {"": contest.ours, **{label: peer.call for label, peer in contest.peers.items()}}
    results: dict[str, Any] = {}
    first: dict[str, float] = {}
    for label, call in list(calls.items()):
        try:
            first[label], results[label] = _timed(call, 1, contest.clock)
        except Exception as error:
            if not label:
                raise
            del calls[label]
            yield skipped(contest.peers[label].package, _why(error), contest.what)
    times = {label: min(max(math.ceil(SHORT / max(taken, 1e-9)), 1), MOST) for label, taken in first.items()}
    seconds: dict[str, list[float]] = {label: [] for label in calls}
    if max(first[label] for label in calls) >= LONG:
        seconds = {label: [first[label]] for label in calls}
    labels = list(calls)
    while len(seconds[""]) < contest.repeats:
        turn = len(seconds[""]) % len(labels)
        for label in labels[turn:] + labels[:turn]:
            seconds[label].append(_timed(calls[label], times[label], contest.clock)[0])
    for label in labels[1:]:
        peer = contest.peers[label]
        equal, words = contest.verdict(results[""], results[label])
        yield {
            "what": contest.what,
            "peer": label,
            "package": peer.package,
            "version": peer.version or importlib.metadata.version(peer.package),
            "equal": equal and not peer.note,
            "result": "; ".join(filter(None, (words, peer.note))),
            **figures(seconds[""], seconds[label]),
            "part": contest.part,
        }


def figures(ours: list[float], theirs: list[float]) -> dict[str, float | int]:
    """Medians of the seconds, and the median and range of the rounds' ratios, ours over theirs."""
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return {
        "ours": statistics.median(ours),
        "theirs": statistics.median(theirs),
        "ratio": round(statistics.median(ratios), 3),
        "low": round(min(ratios), 3),
        "high": round(max(ratios), 3),
        "repeats": len(ratios),
    }


def skipped(package: str, why: str, what: str = "") -> dict[str, Any]:
    """A row of what was not measured."""
    return {"what": what, "package": package, "skipped": why}


def _timed(call: Callable[[], Any], times: int, clock: Callable[[], float]) -> tuple[float, Any]:
    """Seconds of the processor of one call, and what it gave."""
    torch.manual_seed(0)
    started = clock()
    for _ in range(times):
        result = call()
    return (clock() - started) / times, result


def _why(error: Exception) -> str:
    """One line of an error."""
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}"[:160]
