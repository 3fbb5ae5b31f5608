"""The frame of every resumable call: its inputs, a folder, a plan, shards that stay, and a record that comes last.

A verb says what it measures and what follows from it (:class:`Call`). :func:`carried_out` does what all of them have in
common: a folder of one's own or a temporary one, a lock, resuming, errors of the disk, the record of what was sent. A
call that was interrupted leaves a folder ``unfinished`` and no record; the same call resumes where it stopped and ends
with the same bytes; when everything is there, it writes nothing.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypedDict, TypeVar

from snellen.core import package
from snellen.core.budget import seconds_of
from snellen.core.classifier import Classifier
from snellen.core.errors import UnsentError
from snellen.core.evidence import Evidence
from snellen.core.formats import MANIFEST
from snellen.core.images import ImageSet
from snellen.core.interruption import noted_interruption
from snellen.core.progress import Progress
from snellen.core.rehearsal import rehearsing
from snellen.core.run import Run, canonical_json, write_atomically
from snellen.core.unwritable import explained_unwritable, tidy
from snellen.data.rejections import check_rejected
from snellen.models.remote.sent_log import sent_log
from snellen.runs.ahead import ahead
from snellen.runs.engines.engine import Engine
from snellen.runs.engines.lanes import Twin
from snellen.runs.estimate import (
    TRIAL_SECONDS,
    TRIAL_SHARE,
    Choice,
    Estimate,
    Planned,
    Trial,
    choose,
    peak_memory,
    recorded_choice,
    recorded_plan,
    trial_of,
)
from snellen.runs.gathering import rejected_reasons
from snellen.runs.measuring import Piece, Work, measure, part_note
from snellen.runs.record import EVIDENCE, RunResult
from snellen.runs.reopening import Reopening
from snellen.runs.unfinished import UNFINISHED, any_shard, check_free, check_recognisable, complete, opened
from snellen.runs.where import Where

Result = TypeVar("Result", bound=RunResult)


class LaneWork(Work, Twin, Protocol):
    """Work of one of several threads."""


class Running(TypedDict, total=False):
    """Where a call runs, and how long: keyword arguments of every verb. None but a budget changes a result.

    Attributes:
        engine: ``in_process``, ``local`` (processes of this machine), ``ray``, or an engine object. Processes load
            model and images again, by the references that they were loaded by. None: this process; an attack, a
            certificate and an explanation use threads side by side where the model allows it, one for each core.
        processes: of ``local`` and ``ray``; see :func:`~snellen.runs.engines.choosing.choose_engine`.
        address: of a running Ray cluster; None starts one on this machine.
        threads: of torch in each process; another number may change scores by about 1e-5. None: torch's own number,
            divided among the processes, or as the call in the folder has it.
        part: "2/8" measures the second of eight parts into ``out``, which all parts share, and stops; the same call
            without it does what is left and makes the record.
        budget: seconds, or a time such as "90s", "5m", "2h", that the call is to take about. Fewer images are drawn
            then, as many as a few measured ones let expect; chosen once.
        allow_rejected: give the result also where more than 5 % of the images cannot be used. A call that was refused
            for that keeps what it measured in ``out``: the same call with ``allow_rejected`` continues.
    """

    engine: str | Engine | None
    processes: int | None
    address: str | None
    threads: int | None
    part: str | None
    budget: float | str | None
    allow_rejected: bool


def batches(count: int, size: int) -> list[range]:
    """Positions in pieces of one size; the last may be smaller.

    >>> batches(5, 2)
    [range(0, 2), range(2, 4), range(4, 5)]
    """
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


class Rejections(NamedTuple):
    """What could not be used.

    Attributes:
        reasons: by id, the first one each.
        of: how many were read.
    """

    reasons: Mapping[str, str]
    of: int


@dataclass(frozen=True)
class Call(Generic[Result]):
    """What a verb does inside its folder.

    Attributes:
        what: it writes, in words: "attack", "set of certificates".
        result: class of the record.
        plan: makes everything that can change a byte; called once the folder is known to be free.
        work: loads what measures.
        shards: items that are measured together and written whole or not at all; all items in their order.
        conclude: writes what needs all shards, and makes the record; the folder is its second argument.
        task: what progress calls the measuring.
        amount: of progress, for some items.
        images: that are read, which a worker must find with the same bytes.
        seen: positions of those that some items read; None: the items are these positions.
        classifiers: models, which must be recognisable where a folder holds something already.
        again: from what a worker makes the work; None where none can, but see :mod:`snellen.runs.ahead`.
        twin: makes the work for another thread, where shards may be measured side by side; None: one after the other.
        fits: whether something is fitted, and perhaps kept, before the first item.
        forecast: seconds that this and all items take, measured on a little of each; None: nothing can be measured.
        trial: what the items cost, where a few of them do not say it; None, or a trial of None: a few are measured.
        costs: lines about what it costs beside time, such as calls of other models, for a plan that is only shown.
        rejected: what its shards could not use; None: what they list under ``rejected``, of all items.
        name: of the images, in messages.
    """

    what: str
    result: type[Result]
    plan: Callable[[], Mapping[str, Any]]
    work: Callable[[Run], Work]
    shards: Sequence[range]
    conclude: Callable[[Run, Path], Result]
    task: str
    amount: Callable[[range], float] = len
    images: ImageSet | None = None
    seen: Callable[[range], range] | None = None
    classifiers: Sequence[Classifier] = ()
    again: Reopening | None = None
    twin: Callable[[], LaneWork] | None = None
    fits: bool = False
    forecast: Callable[[], float] | None = None
    trial: Callable[[], Trial | None] | None = None
    costs: Callable[[], Sequence[str]] = tuple
    rejected: Callable[[Run], Iterable[Rejections]] | None = None
    name: str = ""

    def check_rejected(self, run: Run, count: int) -> None:
        """Refuse a result that would leave out too many of ``count`` items. One of none is refused by the verb itself.

        Raises:
            InputError: more than 5 % could not be used.
        """
        if self.rejected is None:
            found: Iterable[Rejections] = [Rejections(rejected_reasons(run, len(self.shards)), count)]
        else:
            found = self.rejected(run)
        for lost in found:
            if len(lost.reasons) < lost.of:
                name = self.name if self.images is None else self.images.name
                check_rejected(lost.reasons, lost.of, name, allowed=False)

    @property
    def record(self) -> str:
        """Name of the file that a complete folder holds."""
        return self.result.file

    def pieces(self, run: Run) -> list[Piece]:
        """The shards on their way into a run."""
        return [
            Piece(
                run=run,
                shard=number,
                items=items,
                task=self.task,
                amount=self.amount(items),
                images=self.images,
                seen=items if self.seen is None else self.seen(items),
            )
            for number, items in enumerate(self.shards)
        ]


@dataclass
class Carried(Generic[Result]):
    """A call inside its folder.

    Attributes:
        measure: does what is left; nothing where everything is there. Called by the verb itself, and not for it: every
            function between a verb and the network is one more to read in a traceback and in a profile.
        result: the record, behind the block; that of a part has no figures, but a note.
    """

    measure: Callable[[], None]
    result: Result


@contextmanager
def carried_out(
    call: Callable[[int], Call[Result]], count: int, out: Path | str | None, progress: Progress, running: Running
) -> Iterator[Carried[Result]]:
    """Do a call in its folder, or in a temporary one that is gone afterwards; inside the block it is measured.

    Args:
        call: what is done with so many items at most: images, requests, objects.
        count: items that there are.
        out: a new or empty folder, or one in which the same call was interrupted or finished; None keeps nothing.
        progress: callback that receives progress updates.
        running: where, and how long.

    Raises:
        InputError: ``out`` holds something else, what workers would need cannot be handed to them, or more than 5 % of
            the images could not be used.
        RunConflictError: ``out`` holds the same of another plan, or another call is writing there.
        UnwritableError: the disk is full, or ``out`` may not be written; the same call continues once that is mended.
        WorkerError: a worker died twice with the same shard, or found other files or packages than this process.
    """
    started, since, where = time.perf_counter(), time.time(), Where.of(running)
    made = call(count)
    with ExitStack() as stack:
        if out is not None:
            folder = Path(out)
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / made.what.replace(" ", "-")
        stack.enter_context(noted_interruption(None if out is None else folder))
        stack.enter_context(explained_unwritable(folder))
        sent = stack.enter_context(sent_log())
        part = where.part_of(out)
        check_free(folder, made.record, made.what)
        for classifier in made.classifiers:
            check_recognisable(folder, made.record, classifier, made.what)
        earlier = _earlier(folder, made.record)
        crew = where.crew(made, earlier.get("threads"))
        stack.enter_context(crew.threads_set())
        choice = None
        if rehearsing():
            raise Planned(_estimate(call, made, count, folder if out is not None else None, where, crew.lanes))
        if where.budget is not None:
            try:
                choice = _choice(where, call, count, made.classifiers, earlier, started, crew.at_once)
            finally:
                if choice is None and sent.lines:  # what was sent is always recorded
                    folder.mkdir(parents=True, exist_ok=True)
                    sent.into(folder)
            made = call(choice.items)
        plan = {**made.plan(), **({} if choice is None else {"budget": choice.model_dump(mode="json")})}
        if "code" not in plan:
            plan["code"] = package.code_hash()
        done = complete(folder, made.record, made.result, plan, made.what)
        if done is not None:
            shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
            held = {"evidence": Evidence.read(folder / EVIDENCE)} if EVIDENCE in done.files else {}
            yield Carried(lambda: None, done.model_copy(update=held))
            return
        with opened(folder, plan, shared=where.part is not None) as run:
            sent.into(folder)
            pieces = made.pieces(run)
            work: Callable[[], Work] = partial(made.work, run)
            engine, setup = crew.engine, dict if made.again is None else made.again.setup
            with ExitStack() as beside:
                if engine is not None and made.again is None:  # its steps stay here, and workers evaluate before them
                    work, engine = _foreseen(work, engine, crew.processes, beside), None
                twins = _twins(made, crew.lanes)
                measured = partial(measure, pieces, work, folder, progress, engine=engine, setup=setup, part=part)
                carried = Carried(
                    partial(measured, twins=twins),
                    made.result.of_part(plan, "unfinished", folder),
                )
                yield carried
        if where.part is not None:
            carried.result = made.result.of_part(plan, part_note(where.part, pieces, folder), folder)
            return
        if not where.allow_rejected:
            made.check_rejected(run, count if choice is None else choice.items)
        result = made.conclude(run, folder)
        tidy(folder, since)
        write_atomically(folder / made.record, canonical_json(result.to_json()))
        shutil.rmtree(run.folder)
        carried.result = result.model_copy(update={"folder": folder if out is not None else None})


def _foreseen(work: Callable[[], Work], engine: Engine, processes: int, beside: ExitStack) -> Callable[[], Work]:
    """What loads the work, with workers beside it until the stack is closed."""
    return lambda: beside.enter_context(ahead(work(), engine, processes))


def _twins(call: Call[Any], lanes: int) -> list[Work]:
    """The work for each thread, where several measure side by side."""
    return [call.twin() for _ in range(lanes)] if call.twin is not None and lanes > 1 else []


def _earlier(folder: Path, record: str) -> dict[str, Any]:
    """The plan of a call that finished in a folder, or left something there to go on with; empty without one."""
    if (folder / record).exists() or any_shard(folder / UNFINISHED):
        return recorded_plan(folder, record, f"{UNFINISHED}/{MANIFEST.file}")
    return {}


def _choice(
    where: Where,
    call: Callable[[int], Call[Any]],
    count: int,
    classifiers: Sequence[Classifier],
    earlier: dict[str, Any],
    started: float,
    processes: int,
) -> Choice:
    """What fits into the budget; what a call in the folder chose is not chosen again."""
    seconds = seconds_of(where.budget or 0)
    recorded = recorded_choice(earlier, seconds, count)
    if recorded is not None:
        return recorded
    trial = trial_of(call, count, classifiers, TRIAL_SHARE * seconds)
    return choose(seconds, count, trial.seconds, time.perf_counter() - started, processes)


def _estimate(
    call: Callable[[int], Call[Any]], made: Call[Any], count: int, folder: Path | None, where: Where, lanes: int
) -> Estimate:
    """What a call will cost.

    Raises:
        RunConflictError: the folder holds another call.
    """
    known: dict[str, Any] = {"what": made.what, "folder": folder, "items": count, "shards": len(made.shards), "done": 0}
    if made.forecast is not None:
        note = "measured on a little of each stage in this process"
        seconds = round(made.forecast(), 3)
        return Estimate(**known, seconds=seconds, memory=peak_memory(), requests=0, notes=(*made.costs(), note))
    if made.fits:
        note = "the method fits something before its first item, which a plan does not do: nothing is measured"
        return Estimate(**known, notes=(*made.costs(), note))
    try:
        if folder is not None and (any_shard(folder / UNFINISHED) or (folder / made.record).exists()):
            plan = {"code": package.code_hash(), **made.plan()}
            if where.budget is None and complete(folder, made.record, made.result, plan, made.what) is not None:
                everything = ("everything is there; nothing is left to do",)
                return Estimate(**known | {"done": len(made.shards)}, notes=everything)
            if where.budget is None and not (folder / made.record).exists():
                run = Run.open(folder / UNFINISHED, plan)
                known["done"] = sum(piece.done(folder) for piece in made.pieces(run))
        trial = trial_of(call, count, made.classifiers, TRIAL_SECONDS)
    except UnsentError as error:
        return Estimate(**known, notes=(f"{error}: what that would cost is not measured",))
    if where.budget is not None:
        choice = choose(seconds_of(where.budget), count, trial.seconds, 0.0)
        made = call(choice.items)
        known |= {"items": choice.items, "shards": len(made.shards)}
    left = known["items"] * (1 - known["done"] / max(len(made.shards), 1))
    asks = bool(made.classifiers)
    sharing = "several processes or parts" if lanes < 2 else f"{lanes} threads side by side, processes or parts"
    return Estimate(
        **known,
        queries=round(trial.queries.of(left)) if asks else None,
        gradients=round(trial.gradients.of(left)) if asks else None,
        seconds=round(trial.seconds.of(left), 3),
        memory=peak_memory(),
        requests=0,
        notes=(f"measured on a few items in this process; {sharing} divide the time",),
    )
