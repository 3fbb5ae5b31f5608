"""The functional equivalence cache: key → running means of at most m evaluations; a hit costs the hash and no training.

Gillard et al., arXiv 2302.05433. m (``max_num_evals``) evaluations are averaged before a key is frozen, and after each
full hit a key is forgotten with ``remove_probability``, so that a lucky evaluation does not rule a search. The draws
are a stream of the cache's own: with and without a cache a search draws the same candidates. A partial hit is charged
for its own evaluation (the official code charges the running mean).
"""

from __future__ import annotations

import random
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from snellen.core.errors import InputError
from snellen.core.randomness import derive_seed

#: What a look-up found.
Kind = Literal["miss", "partial hit", "full hit"]


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of a candidate.

    Attributes:
        valid: validation score, the larger the better; the only one that a search learns from.
        test: test score of the same training, where a table has one; never hashed and never selected by.
        seconds: that it took.
        problem: why it failed; empty otherwise.
    """

    valid: float
    test: float | None = None
    seconds: float = 0.0
    problem: str = ""


@dataclass
class Entry:
    """Running means of a key.

    Attributes:
        n: evaluations so far.
        valid: mean of their validation scores.
        test: mean of their test scores, None without any.
        seconds: mean of what they took.
        last_run: index of the last one; −1 before the first. It keeps counting after a key was forgotten.
        problem: why one of them failed, the first that did; empty where none did.
    """

    n: int = 0
    valid: float = 0.0
    test: float | None = None
    seconds: float = 0.0
    last_run: int = -1
    problem: str = ""

    def add(self, found: Evaluation, run: int) -> None:
        """Move the means by one evaluation."""
        self.n, self.last_run, self.problem = self.n + 1, run, self.problem or found.problem
        self.valid += (found.valid - self.valid) / self.n
        self.seconds += (found.seconds - self.seconds) / self.n
        if found.test is not None:
            before = 0.0 if self.test is None else self.test
            self.test = before + (found.test - before) / self.n


@dataclass(frozen=True)
class Outcome:
    """What a look-up gives the search.

    Attributes:
        kind: how it was found.
        valid, test: means of the key.
        seconds: charged: the hash, and the evaluation where there was one.
        run: index of the evaluation that was made; None on a full hit.
        saved: mean seconds of the evaluation that a full hit spared; 0 otherwise.
        problem: why an evaluation of the key failed; a hit on it is no success.
    """

    kind: Kind
    valid: float
    test: float | None
    seconds: float
    run: int | None
    saved: float = 0.0
    problem: str = ""


@dataclass
class FunctionCache:
    """Fitness by functional key, for one process and its threads.

    >>> cache = FunctionCache()
    >>> [cache.look_up(7, 0.01, lambda run: Evaluation(0.9, seconds=2.0)).seconds for _ in range(2)]
    [2.01, 0.01]

    Args:
        max_num_evals: evaluations that are averaged before a key is frozen.
        remove_probability: with which a key is forgotten after a full hit, in [0, 1].
        capacity: keys at most; the one that was not used for the longest time is dropped. None: no limit.
        seed: of forgetting.

    Raises:
        InputError: settings out of range.
    """

    max_num_evals: int = 1
    remove_probability: float = 0.0
    capacity: int | None = None
    seed: int = 0
    counts: dict[Kind, int] = field(default_factory=lambda: {"miss": 0, "partial hit": 0, "full hit": 0})
    entries: OrderedDict[int, Entry] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        whole = [("evaluations of a key", self.max_num_evals)]
        if self.capacity is not None:
            whole.append(("keys that a cache holds", self.capacity))
        for what, value in whole:
            if isinstance(value, bool) or not isinstance(value, int):
                raise InputError(f"{what}: expected a whole number, got {value!r}")
            if value < 1:
                raise InputError(f"{what}: expected at least 1, got {value}")
        probability = self.remove_probability
        if isinstance(probability, bool) or not isinstance(probability, int | float) or not 0 <= probability <= 1:
            raise InputError(f"the probability of forgetting lies in [0, 1]; got {probability!r}")
        self._random = random.Random(derive_seed(self.seed, "function cache", "forgetting"))  # noqa: S311
        self._runs: dict[int, int] = {}
        self._in_flight: set[int] = set()
        self._changed = threading.Condition()

    def look_up(self, key: int, hash_seconds: float, evaluate: Callable[[int], Evaluation]) -> Outcome:
        """The fitness of a key: known, or evaluated now. Of several threads with one key, one evaluates at a time.

        Args:
            key: of the candidate.
            hash_seconds: that the key took.
            evaluate: takes the index of the run, from 0, and evaluates. What it raises is raised here, and leaves the
                key as it was.
        """
        with self._changed:
            self._changed.wait_for(lambda: key not in self._in_flight)
            entry = self.entries.get(key)
            kind: Kind = "miss" if entry is None else "full hit" if entry.n >= self.max_num_evals else "partial hit"
            if entry is not None:
                self.entries.move_to_end(key)
            if kind == "full hit":
                assert entry is not None
                self.counts[kind] += 1
                found = Outcome(kind, entry.valid, entry.test, hash_seconds, None, entry.seconds, entry.problem)
                if self._random.random() < self.remove_probability:
                    self._forget(key)
                return found
            run = 1 + (self._runs.get(key, -1) if entry is None else entry.last_run)
            self._in_flight.add(key)
        try:
            made = evaluate(run)
        except BaseException:
            with self._changed:
                self._in_flight.discard(key)
                self._changed.notify_all()
            raise
        with self._changed:
            self._in_flight.discard(key)
            self._changed.notify_all()
            self.counts[kind] += 1
            entry = self.entries.setdefault(key, Entry())
            entry.add(made, run)
            self._runs.pop(key, None)
            self.entries.move_to_end(key)
            self._drop_oldest()
            return Outcome(kind, entry.valid, entry.test, made.seconds + hash_seconds, run, 0.0, entry.problem)

    def _drop_oldest(self) -> None:
        if self.capacity is None:
            return
        for key in [key for key in self.entries if key not in self._in_flight]:
            if len(self.entries) <= self.capacity:
                return
            self._forget(key)

    def _forget(self, key: int) -> None:
        """Drop a key; how often it was evaluated is kept, of no more keys than the cache holds."""
        self._runs[key] = self.entries.pop(key).last_run
        if self.capacity is not None and len(self._runs) > self.capacity:
            del self._runs[next(iter(self._runs))]
