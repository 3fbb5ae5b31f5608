"""Random search, regularised evolution and elitism, each with the same draws whether or not a cache answers.

Regularised evolution: a tournament of T without replacement among the population of P, the child of its winner (ties:
the later one) is appended, and the oldest is dropped. Elitism drops the worst instead. In the official code of Gillard
et al. (arXiv 2302.05433) the child replaces the worst even if it is worse itself; here such a child is dropped.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Generic, Literal, get_args

from snellen.core.errors import InputError, unknown_name
from snellen.core.randomness import derive_seed
from snellen.systems.functional_hashing.function_cache import Evaluation, FunctionCache, Kind
from snellen.systems.functional_hashing.functional_hash import (
    FAILED,
    MANTISSA_BITS,
    check_mantissa_bits,
    functional_key,
    structural_key,
)
from snellen.systems.functional_hashing.space import Candidate, Space

Strategy = Literal["random", "evolution", "elitism"]

#: What makes two candidates equal.
Keys = Literal["none", "structural", "functional"]

#: Seed of every probe: equal candidates must see equal conditions.
PROBE_SEED = 42

#: The first candidates are hashed twice: a probe that is not deterministic turns every hit into a miss.
HASHED_TWICE = 5


def check_search(strategy: str, keys: str, population: int, tournament: int) -> None:
    """Refuse settings of a search that mean nothing.

    Raises:
        InputError: as above.
    """
    for what, given, known in (("strategy", strategy, get_args(Strategy)), ("keys", keys, get_args(Keys))):
        if given not in known:
            raise unknown_name(what, given, known)
    for what, size in (("population", population), ("tournament", tournament)):
        if isinstance(size, bool) or not isinstance(size, int):
            raise InputError(f"{what}: expected a whole number, got {size!r}")
    if population < 1 or not 1 <= tournament <= population:
        raise InputError(
            f"a tournament takes 1 to all of the population; got a population of {population} and a tournament of "
            f"{tournament}"
        )


@dataclass(frozen=True)
class Trial:
    """One candidate of a search.

    Attributes:
        number: from 0.
        candidate: as a JSON value, as it was drawn.
        structure: its canonical form.
        key: in the cache; None without a cache.
        kind: of the look-up.
        valid, test: fitness that the search learnt from, and the test score beside it.
        hash_seconds: of the key.
        evaluation: that was made; None on a full hit.
        saved: mean seconds of the evaluation that a hit spared.
        problem: why it failed, or why the training failed that a hit spared; empty otherwise.
        stable: whether hashing it again gave the same key; None where it was hashed once.
    """

    number: int
    candidate: Any
    structure: str
    key: int | None
    kind: Kind
    valid: float
    test: float | None
    hash_seconds: float
    evaluation: Evaluation | None
    saved: float
    problem: str = ""
    stable: bool | None = None

    @property
    def seconds(self) -> float:
        """What the candidate was charged."""
        return self.hash_seconds + (0.0 if self.evaluation is None else self.evaluation.seconds)


@dataclass
class Proposer(Generic[Candidate]):
    """Draws candidates; everything random in it follows from the seed and the fitnesses so far.

    Args:
        space: of candidates.
        strategy: how.
        population: P, of evolution and elitism.
        tournament: T.
        seed: of all draws.

    Raises:
        InputError: another strategy, P below 1, or T outside 1 to P.
    """

    space: Space[Candidate]
    strategy: Strategy = "evolution"
    population: int = 50
    tournament: int = 10
    seed: int = 0
    _members: deque[tuple[float, int, Candidate]] = field(default_factory=deque)
    _heap: list[tuple[float, int, Candidate]] = field(default_factory=list)
    _count: int = 0

    def __post_init__(self) -> None:
        check_search(self.strategy, "none", self.population, self.tournament)
        self._random = random.Random(derive_seed(self.seed, "search"))  # noqa: S311 - reproducible, not secret

    def propose(self) -> Candidate:
        """The next candidate."""
        if self.strategy == "random" or self._count < self.population:
            return self.space.sample(self._random)
        members = self._heap if self.strategy == "elitism" else self._members
        # In the order of arrival, so that the draws do not depend on the heap's inner order.
        ordered = sorted(members, key=lambda one: one[1])
        chosen = self._random.sample(range(len(ordered)), self.tournament)
        winner = max((ordered[place] for place in chosen), key=lambda one: (one[0], one[1]))
        return self.space.mutate(winner[2], self._random)

    def learn(self, candidate: Candidate, valid: float) -> None:
        """Take the fitness of the candidate that was proposed last."""
        member = (valid, self._count, candidate)
        self._count += 1
        if self.strategy == "evolution":
            self._members.append(member)
            if len(self._members) > self.population:
                self._members.popleft()
        elif self.strategy == "elitism":
            if len(self._heap) < self.population:
                heapq.heappush(self._heap, member)
            else:
                heapq.heappushpop(self._heap, member)


@dataclass
class Search(Generic[Candidate]):
    """A search with a cache in front of the evaluation.

    Args:
        space: of candidates.
        proposer: that draws them.
        keys: what makes two candidates equal.
        cache: of fitness; not used with the keys ``none``.
        mantissa_bits: of the functional hash.
        hash_seconds: charged for a key; None: measured.
        redraw: whether, without a cache, each candidate has a run of its own, and with it new noise; otherwise run 0.
        clock: measures keys.
    """

    space: Space[Candidate]
    proposer: Proposer[Candidate]
    keys: Keys = "functional"
    cache: FunctionCache = field(default_factory=FunctionCache)
    mantissa_bits: int = MANTISSA_BITS
    hash_seconds: float | None = None
    redraw: bool = False
    clock: Callable[[], float] = perf_counter
    done: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        check_mantissa_bits(self.mantissa_bits)

    def step(self) -> Trial:
        """Propose a candidate, look it up or evaluate it, and learn."""
        candidate = self.proposer.propose()
        started = self.clock()
        key, problem = self.key(candidate)
        took = self.clock() - started
        charged = 0.0 if key is None else took if self.hash_seconds is None else self.hash_seconds
        stable = None
        if self.keys == "functional" and self.done < HASHED_TWICE:
            stable = self.key(candidate)[0] == key
        return self._learn(candidate, key, charged, problem, stable, lambda run: self.evaluated(candidate, key, run))

    def repeat(self, trial: Trial) -> None:
        """Repeat a known step, without probe and evaluation, to resume a search.

        Raises:
            InputError: this search proposes another candidate.
        """
        candidate = self.proposer.propose()
        if self.space.encode(candidate) != trial.candidate:
            raise InputError(
                f"candidate {trial.number} of the interrupted search is not what this search proposes; "
                "start anew in an empty folder"
            )

        def known(_: int) -> Evaluation:
            assert trial.evaluation is not None
            return trial.evaluation

        self._learn(candidate, trial.key, trial.hash_seconds, trial.problem, trial.stable, known)

    def key(self, candidate: Candidate) -> tuple[int | None, str]:
        """The key of a candidate, and why it failed on the probe."""
        if self.keys == "none":
            return None, ""
        if self.keys == "structural":
            return structural_key(self.space.structure(candidate)), ""
        try:
            return functional_key(self.space.probe(candidate, PROBE_SEED), self.mantissa_bits), ""
        except MemoryError:
            raise
        except Exception as error:  # a candidate is a program: it may fail in any way
            return FAILED, _reason(error)

    def evaluated(self, candidate: Candidate, key: int | None, run: int) -> Evaluation:
        """Evaluate; a candidate that fails has the worst fitness."""
        if key == FAILED:
            return Evaluation(self.space.worst)
        started = self.clock()
        try:
            return self.space.evaluate(candidate, run)
        except MemoryError:
            raise
        except Exception as error:
            return Evaluation(self.space.worst, seconds=self.clock() - started, problem=_reason(error))

    def _learn(
        self,
        candidate: Candidate,
        key: int | None,
        hash_seconds: float,
        problem: str,
        stable: bool | None,
        evaluate: Callable[[int], Evaluation],
    ) -> Trial:
        made: list[Evaluation] = []

        def once(run: int) -> Evaluation:
            made.append(evaluate(run))
            return made[-1]

        kind: Kind = "miss"
        if key is None:
            found = once(self.done if self.redraw else 0)
            valid, test, saved, why = found.valid, found.test, 0.0, found.problem
        else:
            outcome = self.cache.look_up(key, hash_seconds, once)
            kind, valid, test, saved = outcome.kind, outcome.valid, outcome.test, outcome.saved
            why = outcome.problem
        self.proposer.learn(candidate, valid)
        trial = Trial(
            number=self.done,
            candidate=self.space.encode(candidate),
            structure=self.space.structure(candidate),
            key=key,
            kind=kind,
            valid=valid,
            test=test,
            hash_seconds=hash_seconds,
            evaluation=made[0] if made else None,
            saved=saved,
            problem=problem or why,
            stable=stable,
        )
        self.done += 1
        self.seconds += trial.seconds
        return trial

    def run(self, candidates: int | None = None, budget: float | None = None) -> Iterator[Trial]:
        """Steps until there are so many candidates, or so many seconds were charged.

        Raises:
            InputError: neither is given.
        """
        if candidates is None and budget is None:
            raise InputError("a search ends after a number of candidates or of seconds; give one of them")
        while (candidates is None or self.done < candidates) and (budget is None or self.seconds < budget):
            yield self.step()


def _reason(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {error}".partition("\n")[0][:300]
