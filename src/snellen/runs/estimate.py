"""What a call will cost, measured on a few of its images: for a plan that is only shown, and for a budget of time."""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec, Protocol

from pydantic import BaseModel, ConfigDict, Field

from snellen.core.budget import Spent, time_words
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.formats import FORMATS
from snellen.core.progress import Silent
from snellen.core.rehearsal import rehearsal
from snellen.core.run import Run
from snellen.runs.measuring import Work, measure_items

#: Seconds after which a plan that is only shown stops measuring, and the share of a budget for the same.
TRIAL_SECONDS, TRIAL_SHARE = 10.0, 0.05

#: Share of a budget that is planned with: pages, pictures and what was not measured take the rest.
PLANNED_SHARE = 0.9

Arguments = ParamSpec("Arguments")


class Choice(BaseModel):
    """What fits into a budget; a part of the plan.

    Attributes:
        seconds: the budget.
        items: images, requests or objects that are taken.
        of: as many there were.
        estimated: seconds that they were estimated to take.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float
    items: int
    of: int
    estimated: float


class Estimate(BaseModel):
    """What a call will cost.

    Attributes:
        what: it writes.
        folder: where; None where nothing is kept.
        items: images, requests or objects.
        shards: pieces of work, and how many of them are there already.
        done: of these.
        queries: images through the model, in all; None without a model, or where nothing was measured.
        gradients: the same for gradients.
        seconds: for what is left; None where nothing was measured.
        memory: largest memory of this process so far, the measuring included, bytes.
        requests: to a server; 0 where the model runs here.
        skipped: what will not run, with the reason.
        notes: what the figures rest on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    what: str
    folder: Path | None
    items: int
    shards: int
    done: int = 0
    queries: int | None = None
    gradients: int | None = None
    seconds: float | None = None
    memory: int | None = None
    requests: int | None = None
    skipped: dict[str, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = "" if self.folder is None else f" into {self.folder}"
        lines = [f"{self.what}{where}: {self.items:,} items in {self.shards:,} shards, {self.done:,} of them done"]
        if self.queries is not None:
            backward = "" if self.gradients is None else f", {self.gradients:,} backward"
            lines.append(f"passes: about {self.queries:,} images forward{backward}")
        if self.seconds is not None:
            lines.append(f"time: about {time_words(self.seconds)}")
        if self.memory is not None:
            lines.append(f"memory: {self.memory / 2**30:.1f} GiB at most in this process so far")
        if self.requests is not None:
            lines.append(f"requests to a server: {self.requests:,}")
        lines += [f"skipped: {name}: {reason}" for name, reason in self.skipped.items()]
        return "\n".join([*lines, *self.notes])


def together(parts: Sequence[Estimate], what: str, folder: Path | None) -> Estimate:
    """What several calls will cost, one after the other; a figure that one of them does not give is None.

    >>> one = Estimate(what="attack", folder=None, items=20, shards=1, seconds=2.0)
    >>> both = together([one, one], "evaluation", None)
    >>> both.items, both.seconds, both.queries
    (40, 4.0, None)

    Args:
        parts: the calls.
        what: they write together.
        folder: where; None where nothing is kept.
    """
    added = {
        name: None if None in (values := [getattr(one, name) for one in parts]) else sum(values)
        for name in ("items", "shards", "done", "queries", "gradients", "seconds", "requests")
    }
    return Estimate(
        what=what,
        folder=folder,
        memory=max((one.memory for one in parts if one.memory is not None), default=None),
        skipped={name: reason for one in parts for name, reason in one.skipped.items()},
        notes=tuple(dict.fromkeys(note for one in parts for note in one.notes)),
        **added,
    )


class Planned(Exception):  # noqa: N818 - no error: how a call that is only planned ends
    """Ends a call once it is known what it would cost."""

    def __init__(self, estimate: Estimate) -> None:
        super().__init__(str(estimate))
        self.estimate = estimate


def plan(verb: Callable[Arguments, object], *arguments: Arguments.args, **options: Arguments.kwargs) -> Estimate:
    """Say what a call would cost, without doing it: nothing is written, and no image leaves this machine.

    A few items are measured, for some ten seconds, or longer where a single one takes so long.

    >>> import snellen
    >>> classifier = snellen.load_classifier("bundled:fashion-cnn")
    >>> images = snellen.load_images("bundled:fashion-mnist").limit(50)
    >>> snellen.plan(snellen.attack, classifier, images, "fgsm").items
    50

    Args:
        verb: a function of this package, such as ``snellen.attack``.
        arguments: that it is called with.
        options: the same.

    Raises:
        SnellenError: as the call itself.
    """
    with rehearsal():
        try:
            verb(*arguments, **options)
        except Planned as planned:
            return planned.estimate
    raise InputError(f"{getattr(verb, '__name__', verb)} is no verb that can be planned")


class Cost(BaseModel):
    """A share that comes once, and one for each item.

    >>> Cost(once=2.0, each=0.5).of(100)
    52.0
    """

    once: float
    each: float

    def of(self, items: float) -> float:
        """Of so many items."""
        return self.once + self.each * items

    @classmethod
    def through(cls, fewer: tuple[int, float] | None, more: tuple[int, float]) -> Cost:
        """The line through two measurements, items and amount; through nothing and one where there are no two."""
        items, amount = more
        each = amount / items
        if fewer is not None:
            each = min(max((amount - fewer[1]) / (items - fewer[0]), 0.0), each)
        return cls(once=amount - each * items, each=each)


class Trial(BaseModel):
    """What a few items took."""

    seconds: Cost
    queries: Cost
    gradients: Cost


class PricedCall(Protocol):
    """A call of some items, as far as its cost needs it; see :class:`~snellen.runs.runner.Call`."""

    @property
    def work(self) -> Callable[[Run], Work]:
        """Loads what measures."""

    @property
    def shards(self) -> Sequence[range]:
        """Items that are measured together."""

    @property
    def trial(self) -> Callable[[], Trial | None] | None:
        """What the items cost, by the method itself."""


def trial_of(call: Callable[[int], PricedCall], count: int, classifiers: Sequence[Classifier], seconds: float) -> Trial:
    """What the items of a call cost: what the call says itself, else what a few take, in a folder that is thrown away.

    Args:
        call: the call of so many items.
        count: items that there are.
        classifiers: whose passes are counted.
        seconds: after which no more items are measured. A call that says its cost bounds what it tries itself.
    """
    itself = call(count).trial
    said = None if itself is None else itself()
    if said is not None:
        return said
    with tempfile.TemporaryDirectory() as scratch:

        def loaded(items: int) -> tuple[Work, Sequence[range]]:
            few = call(items)
            return few.work(Run(Path(scratch), {})), few.shards

        return try_out(loaded, count, classifiers, seconds)


def try_out(
    loaded: Callable[[int], tuple[Work, Sequence[range]]],
    count: int,
    classifiers: Sequence[Classifier],
    seconds: float,
) -> Trial:
    """Measure one item, two, four and so on with a clock beside them; what comes of it is thrown away.

    Args:
        loaded: the work on so many items, and its shards.
        count: items that there are.
        classifiers: whose passes are counted.
        seconds: after which no more items are measured.

    Returns:
        The line through the last two measurements; the only one where there are no more.
    """
    started, taken = time.perf_counter(), list[tuple[int, float, int, int]]()
    items = 1
    while True:
        before, clock = _spent(classifiers), time.perf_counter()
        try:
            work, shards = loaded(items)
            measured = [measure_items(work, "", shard, lambda _path, _content: None, Silent()) for shard in shards]
        except InputError:  # some methods need more images than a few
            if items >= count:
                raise
            items = min(2 * items, count)
            continue
        now, spent = time.perf_counter(), _spent(classifiers)
        noted = [part.spent for shard in measured for part in shard.evidence.values()]
        # Some methods ask the network itself, and note it in their evidence; others note less than all passes.
        queries = max(spent.queries - before.queries, sum(one.queries for one in noted))
        gradients = max(spent.gradients - before.gradients, sum(one.gradients for one in noted))
        taken.append((items, now - clock, queries, gradients))
        # The first measurement warms up, so that two more are made unless they would take too long by far.
        patience = seconds if len(taken) > 2 else 2 * seconds
        if items >= count or now - started + 2 * (now - clock) > patience:
            break
        items = min(2 * items, count)
    fewer, last = taken[-2] if len(taken) > 1 else None, taken[-1]
    lines = [
        Cost.through(None if fewer is None else (fewer[0], float(fewer[place])), (last[0], float(last[place])))
        for place in (1, 2, 3)
    ]
    if len(taken) == 2:  # the first of two took as long as it does to warm up
        lines[0] = Cost.through(None, (last[0], last[1]))
    return Trial(seconds=lines[0], queries=lines[1], gradients=lines[2])


def choose(seconds: float, count: int, cost: Cost, spent: float, processes: int = 1) -> Choice:
    """How many items fit.

    >>> choose(60, 1000, Cost(once=0, each=0.5), spent=4).items
    100

    Args:
        seconds: the budget.
        count: items that there are.
        cost: seconds of the items.
        spent: seconds that are gone.
        processes: that work side by side.

    Raises:
        InputError: not a single item fits.
    """
    room, each = PLANNED_SHARE * seconds - spent - cost.once, cost.each / processes
    fitting = count if not each else min(math.floor(room / each), count)
    if fitting < 1 or room <= 0:
        raise InputError(
            f"the budget of {time_words(seconds)} is too small: a single item takes about "
            f"{time_words((spent + cost.of(1)) / PLANNED_SHARE)}; give more time"
        )
    estimated = round(spent + cost.once + each * fitting, 1)
    return Choice(seconds=seconds, items=fitting, of=count, estimated=estimated)


def recorded_choice(plan: dict[str, Any], seconds: float, count: int) -> Choice | None:
    """What a call with this plan chose for the same budget among as many items; None where it had another."""
    found = plan.get("budget")
    choice = None if found is None else Choice.model_validate(found)
    return choice if choice is not None and (choice.seconds, choice.of) == (seconds, count) else None


def recorded_plan(folder: Path, *names: str) -> dict[str, Any]:
    """The plan of a call that was begun or finished in a folder; empty where there is none that can be read.

    Args:
        folder: of the call.
        names: files in it that may hold one: the record, the manifest of what is unfinished.
    """
    for name in names:
        try:
            written = json.loads((folder / name).read_bytes())
            found = FORMATS[Path(name).name].read(written, folder / name)
            plan = found.get("plan", found)
            if isinstance(plan, dict):
                return plan
        except (OSError, ValueError, AttributeError):
            continue
    return {}


def peak_memory() -> int | None:
    """Largest memory of this process so far, bytes; None where the system does not report it."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _spent(classifiers: Sequence[Classifier]) -> Spent:
    return Spent(
        queries=sum(one.spent.queries for one in classifiers), gradients=sum(one.spent.gradients for one in classifiers)
    )
