"""Candidates of a sequential search, evaluated by workers before their turn, with the results of one process.

A search proposes its next candidate from the fitness of those before it. Most proposals do not depend on the last few,
so this process foresees them on a copy of the proposer, in which candidates that are not evaluated yet never win.
Workers evaluate what is foreseen. The search itself then makes its steps in order; where a foreseen candidate is the
one that it proposes, its evaluation is there already, and otherwise this process makes it. An evaluation depends on
the candidate and the index of its run alone, so nothing but the clock can differ.

A system offers this by ``[forms.VERB.ahead]``, which names the class of its work. That class holds ``searched``, from
which a worker makes the same space, and the search that ``searched.fresh()`` gives has a ``space``, a ``proposer``,
``keys`` and a ``cache``.
"""

from __future__ import annotations

import copy
import json
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from queue import SimpleQueue
from typing import Any, Protocol

from pydantic import BaseModel

from snellen.core import index
from snellen.core.errors import InputError, UnknownNameError, WorkerError
from snellen.core.images import ImageSet
from snellen.runs.engines.engine import Engine, InProcess, Numbered, attribute_of
from snellen.runs.engines.ray_cluster import Ray
from snellen.runs.measuring import Work
from snellen.runs.reopening import Reopening, sets_again

#: What an engine calls in each worker.
WORK = "snellen.runs.ahead:open_evaluations"

#: Candidates that are foreseen for each process: one that it evaluates, and one that waits for it.
FORESEEN = 2

#: A candidate: its structure, the index of its run, and, where no cache stands before it, its number in the search.
Wanted = tuple[str, int, int]


def is_foreseeable(what: str) -> bool:
    """Whether the candidates of a call that writes this can be evaluated before their turn.

    >>> is_foreseeable("search"), is_foreseeable("attack")
    (True, False)
    """
    try:
        index.form(what, "ahead")
    except UnknownNameError:
        return False
    return True


@contextmanager
def ahead(work: Any, engine: Engine, processes: int) -> Iterator[Work]:  # noqa: ANN401 - see above
    """The same work, with workers that evaluate its candidates before their turn; they end with the block.

    Args:
        work: of a search; see the head of this file.
        engine: whose workers evaluate.
        processes: that it has.

    Raises:
        InputError: workers cannot read the images of the search again, or the engine has none.
        WorkerError: a worker died twice with the same candidate, or found other files or packages than this process.
    """
    # Two trainings in one process would disturb each other's random numbers, and Ray deals further jobs before it takes
    # results, but which candidate comes next follows from results.
    if isinstance(engine, InProcess | Ray):
        raise InputError('candidates are evaluated ahead by processes of this machine; use the engine "local"')
    reopening = _reopening(work.searched)
    reopening.check()
    with closing(_Evaluations(engine, reopening.setup())) as evaluations:
        made: Work = replace(work, searched=_Foreseen(work.searched, evaluations, processes))
        yield made


def foreseeing(search: Any, evaluations: Evaluations, processes: int) -> _Foreseeing:  # noqa: ANN401 - see above
    """A search before its first candidate, with so many processes that evaluate ahead of it."""
    return _Foreseeing(search, evaluations, FORESEEN * processes)


def _reopening(searched: Any) -> Reopening:  # noqa: ANN401 - as above
    """From what a worker makes the images and settings of a search again."""
    given = {one.name: getattr(searched, one.name) for one in fields(searched)}
    sets = {name: value for name, value in given.items() if isinstance(value, ImageSet)}
    models = {name: value for name, value in given.items() if isinstance(value, BaseModel)}
    plain = {name: value for name, value in given.items() if name not in {*sets, *models}}
    return Reopening(
        maker=_name_of(type(searched)),
        sets=sets,
        arguments={
            "models": {name: [_name_of(type(one)), one.model_dump(mode="json")] for name, one in models.items()},
            "plain": plain,
            "contents": {name: one.contents_fingerprint() for name, one in sets.items()},
        },
    )


def open_evaluations(setup: Mapping[str, Any]) -> Callable[[bytes], bytes]:
    """In a worker: what evaluates a candidate, given as JSON; the result is JSON, and null for one that fails.

    Raises:
        WorkerError: package or machine is another one, or images have changed.
    """
    sets, arguments = sets_again(setup), setup["arguments"]
    for name, images in sets.items():
        if images.contents_fingerprint() != arguments["contents"][name]:
            raise WorkerError(f"{images.name} holds other images here than where the search began; begin it anew")
    models = {name: attribute_of(kind).model_validate(value) for name, (kind, value) in arguments["models"].items()}
    space = attribute_of(setup["maker"])(**sets, **models, **arguments["plain"]).space

    def evaluate(job: bytes) -> bytes:
        kind, encoded, run = json.loads(job)
        try:
            made = space.evaluate(attribute_of(kind).decode(encoded), run)
        except MemoryError:
            raise
        except Exception:  # a candidate may fail in any way: it fails again in its turn, where that is recorded
            return b"null"
        return json.dumps([_name_of(type(made)), asdict(made)]).encode()

    return evaluate


def _name_of(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


class Evaluation(Protocol):
    """What a worker makes of a candidate: a future."""

    def cancel(self) -> bool:
        """Withdraw it, unless a worker began it."""
        ...

    def result(self) -> Any:  # noqa: ANN401 - a JSON value
        """Wait for it: the name of its class and its values; None for a candidate that fails."""
        ...


class Evaluations(Protocol):
    """Who evaluates ahead."""

    def check(self) -> None:
        """Raise what ended the workers."""
        ...

    def request(self, candidate: Any, encoded: Any, run: int) -> Evaluation:  # noqa: ANN401 - any JSON value
        """The evaluation of a candidate, later."""
        ...


class _WorkersEndedError(BaseException):
    """The workers ended while they evaluated a candidate. No ``Exception``: a search takes those for its failure."""


class _Jobs:
    """Jobs for an engine, as they come; those that are withdrawn before a worker begins them are left out."""

    def __init__(self, made: dict[int, Future[Any]]) -> None:
        self._made, self._queue = made, SimpleQueue[Numbered | None]()

    def put(self, job: Numbered) -> None:
        """Add one."""
        self._queue.put(job)

    def end(self) -> None:
        """See :class:`~snellen.runs.engines.engine.OpenJobs`."""
        self._queue.put(None)

    def __iter__(self) -> Iterator[Numbered]:
        return self

    def __next__(self) -> Numbered:
        while (job := self._queue.get()) is not None:
            if self._made[job[0]].set_running_or_notify_cancel():
                return job
            del self._made[job[0]]
        self._queue.put(None)  # for those that wait, too
        raise StopIteration


class _Evaluations:
    """Evaluations that workers of an engine make, in the order in which they are requested."""

    def __init__(self, engine: Engine, setup: Mapping[str, Any]) -> None:
        self._made: dict[int, Future[Any]] = {}
        self._jobs = _Jobs(self._made)
        self._error: BaseException | None = None
        self._count, self._thread = 0, threading.Thread(target=self._collect, args=(engine, setup), daemon=True)
        self._thread.start()

    def request(self, candidate: Any, encoded: Any, run: int) -> Future[Any]:  # noqa: ANN401 - any JSON value
        """The evaluation of a candidate, later; None for one that fails."""
        made: Future[Any] = Future()
        self._made[self._count] = made
        self._jobs.put((self._count, json.dumps([_name_of(type(candidate)), encoded, run]).encode()))
        self._count += 1
        return made

    def check(self) -> None:
        """Raise what ended the workers.

        Raises:
            SnellenError: as the engine.
        """
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Withdraw what no worker began, and wait for the rest: a candidate for each process at most."""
        for one in list(self._made.values()):
            one.cancel()
        self._jobs.end()
        self._thread.join()

    def _collect(self, engine: Engine, setup: Mapping[str, Any]) -> None:
        try:
            with closing(engine.run(WORK, setup, self._jobs)) as results:
                for number, content in results:
                    self._made.pop(number).set_result(json.loads(content))
        except BaseException as error:  # to be raised before the next candidate
            self._error = error
        finally:
            for one in list(self._made.values()):
                if not one.cancel() and not one.done():
                    one.set_exception(_WorkersEndedError())


@dataclass(frozen=True, eq=False)
class _Foreseen:
    """What a search is made of, with workers beside it."""

    searched: Any
    evaluations: Evaluations
    processes: int

    def fresh(self) -> _Foreseeing:
        """The search before its first candidate."""
        return foreseeing(self.searched.fresh(), self.evaluations, self.processes)


@dataclass(eq=False)
class _Foreseeing:
    """A search whose next candidates are foreseen before each of its steps.

    Attributes:
        search: that makes the steps.
        evaluations: of the workers.
        depth: candidates that are foreseen.
    """

    search: Any
    evaluations: Evaluations
    depth: int
    _coming: dict[Wanted, Evaluation] = field(default_factory=dict)
    _known: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._space, self._drawn = self.search.space, dict[int, Any]()
        self.search.space = _Answered(self._space, self._answer, self._drawn)

    @property
    def done(self) -> int:
        """Candidates so far."""
        found: int = self.search.done
        return found

    def repeat(self, trial: Any) -> None:  # noqa: ANN401 - of the search
        """Repeat a known step; see :func:`ahead`."""
        self.search.repeat(trial)
        self._note(trial)

    def step(self) -> Any:  # noqa: ANN401 - of the search
        """Foresee, and make the next step.

        Raises:
            WorkerError: the workers ended.
        """
        self.evaluations.check()
        self._foresee()
        try:
            trial = self.search.step()
        except _WorkersEndedError as ended:
            self.evaluations.check()
            raise WorkerError("the workers ended before they evaluated a candidate; begin the call anew") from ended
        self._note(trial)
        return trial

    def _note(self, trial: Any) -> None:  # noqa: ANN401 - as above
        """How many runs of a structure need not be foreseen: those that were made, and all of one that is cached."""
        if trial.kind == "full hit":
            self._known[trial.structure] = self.search.cache.max_num_evals
        elif trial.evaluation is not None:
            self._known[trial.structure] += 1

    def _foresee(self) -> None:
        """Request the next candidates, and withdraw those that are no longer expected."""
        search, space = self.search, self._space
        # A candidate never changes, so the copy shares them: that is ten times as fast.
        proposer = copy.deepcopy(search.proposer, {id(space): space, **self._drawn})
        cached, known = search.keys != "none", self._known.copy()
        wanted: dict[Wanted, Any] = {}
        for number in range(search.done, search.done + self.depth):
            candidate = proposer.propose()
            proposer.learn(candidate, -math.inf)
            structure = space.structure(candidate)
            run = known[structure] if cached else 0
            if not cached or run < search.cache.max_num_evals:
                known[structure] += 1
                wanted[structure, run, -1 if cached else number] = candidate
        for old in [one for one in self._coming if one not in wanted]:
            if self._coming[old].cancel():
                del self._coming[old]
        for new, candidate in wanted.items():
            if new not in self._coming:
                self._coming[new] = self.evaluations.request(candidate, space.encode(candidate), new[1])

    def _answer(self, candidate: Any, run: int) -> Any:  # noqa: ANN401 - as above
        """The evaluation of the candidate whose turn it is, by the first process to begin it."""
        number = -1 if self.search.keys != "none" else self.search.done
        coming = self._coming.pop((self._space.structure(candidate), run, number), None)
        found = None if coming is None or coming.cancel() else coming.result()
        if found is None:
            return self._space.evaluate(candidate, run)
        kind, values = found
        return attribute_of(kind)(**values)


class _Answered:
    """A space whose evaluations come from elsewhere, and that holds every candidate it was shown, by its address."""

    def __init__(
        self,
        space: Any,  # noqa: ANN401 - of the search
        answer: Callable[[Any, int], Any],
        drawn: dict[int, Any],
    ) -> None:
        self._space, self.evaluate, self._drawn = space, answer, drawn

    def structure(self, candidate: Any) -> str:  # noqa: ANN401 - as above
        """See the space itself."""
        self._drawn[id(candidate)] = candidate
        found: str = self._space.structure(candidate)
        return found

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as above
        return getattr(self._space, name)
