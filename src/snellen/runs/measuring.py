"""Shards that are measured, here or by workers, and written one by one, each whole or not at all."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import torch

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.progress import Progress
from snellen.core.run import Run
from snellen.models.remote.sent_log import append
from snellen.runs.engines.engine import Engine, Numbered
from snellen.runs.engines.frames import error_of
from snellen.runs.shard import Shard
from snellen.runs.side_by_side import side_by_side
from snellen.runs.whole_file import whole_file

#: What an engine calls in each worker.
WORK = "snellen.runs.reopening:open_work"

#: Writes a file: path relative to the folder of the call, and its content.
Put = Callable[[str, bytes], None]

_PART = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")

#: Where the hashes of the files of a shard stand in its JSON.
_FILES = "files"


class Work(Protocol):
    """What is measured, with everything loaded."""

    def measure(self, of: str, items: range, put: Put, progress: Progress) -> Shard:
        """Measure some items of a set.

        Args:
            of: name of the set, where there are several.
            items: numbers of images, objects, methods: the items of this work's shards.
            put: writes a file.
            progress: receives every step, in the units in which the pieces state their amounts.
        """
        ...


@dataclass(frozen=True, eq=False)
class Piece:
    """One shard on its way into a run.

    Attributes:
        run: where it goes.
        shard: its number there.
        items: that are measured.
        task: what progress calls it.
        amount: of progress.
        of: name of the set, where there are several.
        images: the set; a worker must find the same bytes.
        seen: positions of its images that the items read.
        words: what a worker measured of it → what progress shows; None: its number.
    """

    run: Run
    shard: int
    items: range
    task: str
    amount: float
    of: str = ""
    images: ImageSet | None = None
    seen: range = range(0)
    words: Callable[[Shard], str] | None = None

    def done(self, folder: Path) -> bool:
        """Whether the shard is there, and so is every file that was written with it."""
        if not self.run.done(self.shard):
            return False
        files = self.run.shard_extra(self.shard).get(_FILES, {})
        return all(_hash_of(folder / path) == recorded for path, recorded in files.items())

    def job(self) -> Job:
        """What a worker is given."""
        if self.images is None:
            return Job(self.of, self.items)
        contents = hash_of(self.images.content_hashes[self.seen.start : self.seen.stop])
        return Job(self.of, self.items, self.seen, contents)

    def write(self, shard: Shard, files: Files) -> None:
        """Write what was measured, and which files belong to it."""
        extra = {**shard.extra, _FILES: files.hashes} if files.hashes else shard.extra
        self.run.write_shard(self.shard, shard.evidence, extra, timing=shard.seconds)


@dataclass(frozen=True)
class Job:
    """Items that a worker measures.

    Attributes:
        of: name of the set.
        items: that are measured.
        seen: positions of the images that these read.
        contents: hash of the hashes of their stored bytes; None where it need not be compared.
    """

    of: str
    items: range
    seen: range = range(0)
    contents: str | None = None

    def to_bytes(self) -> bytes:
        """As JSON."""
        ends = [self.items.start, self.items.stop, self.seen.start, self.seen.stop]
        return json.dumps([self.of, *ends, self.contents]).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Job:
        """Read what :meth:`to_bytes` made."""
        of, first, last, first_seen, last_seen, contents = json.loads(content)
        return cls(of, range(first, last), range(first_seen, last_seen), contents)


class Files:
    """Writes the files of one shard, each whole or not at all, and remembers their hashes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.hashes: dict[str, str] = {}

    def put(self, path: str, content: bytes) -> None:
        """Write a file at a path relative to the folder.

        Raises:
            InputError: a path that leads out of it, which only a worker gone wrong could name.
        """
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts or "\\" in path or ":" in parts[0]:
            raise InputError(f"{path!r} is no path inside the folder of the call")
        with whole_file(self._folder / path) as stream:
            stream.write(content)
        self.hashes[path] = hashlib.sha256(content).hexdigest()


def measure(
    pieces: Sequence[Piece],
    work: Callable[[], Work],
    folder: Path,
    progress: Progress,
    *,
    engine: Engine | None = None,
    setup: Callable[[], dict[str, Any]] = dict,
    part: tuple[int, int] = (1, 1),
    twins: Sequence[Work] = (),
) -> None:
    """Measure what is not done yet. Workers are started once; without anything to do, not at all.

    Args:
        pieces: all shards, in their order.
        work: loads what is measured here; called only where something is left to do and no engine does it.
        folder: of the call, for files and the record of what was sent.
        progress: receives every step that is done here, every shard that is done elsewhere.
        engine: who measures; None: this process.
        setup: of the work in a worker.
        part: which of how many parts of the shards to measure.
        twins: the work for each thread of this process, where several measure side by side.

    Raises:
        SnellenError: what a worker raised, or that it died. What was written stays.
    """
    mine = pieces[part[0] - 1 :: part[1]]
    tasks = {task: sum(piece.amount for piece in mine if piece.task == task) for task in _tasks(mine)}
    for task, amount in tasks.items():
        progress.begin(task, amount)
    waiting = list(_left(mine, folder, progress))
    if waiting and engine is None:
        if twins:
            measures = [_measuring(one, folder) for one in twins]
            with closing(side_by_side(waiting, measures, progress)) as results:
                for piece, (shard, files) in results:
                    piece.write(shard, files)
        else:
            loaded = work()
            for piece in waiting:
                files, found = Files(folder), None
                with _shortage_passed_over(piece.items):
                    found = loaded.measure(piece.of, piece.items, files.put, progress)
                piece.write(found or _measure_in_two(loaded, piece.of, piece.items, files.put, progress), files)
    elif waiting and engine is not None:
        numbers = {id(piece): number for number, piece in enumerate(pieces)}
        left = {numbers[id(piece)]: piece for piece in waiting}
        jobs = ((number, piece.job().to_bytes()) for number, piece in left.items())
        with closing(engine.run(WORK, setup(), jobs)) as results:
            _write_results(results, left, folder, progress)
    for task in tasks:
        progress.finish(task)


def _measuring(work: Work, folder: Path) -> Callable[[Piece, Progress], tuple[Shard, Files]]:
    def measured(piece: Piece, progress: Progress) -> tuple[Shard, Files]:
        files = Files(folder)
        return measure_items(work, piece.of, piece.items, files.put, progress), files

    return measured


def measure_items(work: Work, of: str, items: range, put: Put, progress: Progress) -> Shard:
    """Measure items; one half after the other where memory is short, and smaller halves where it still is.

    A method's random draws depend on the ids of the images, not on the batch, so that the same is measured.

    Raises:
        RuntimeError: as the work, or memory is short for a single item.
    """
    shard = None
    with _shortage_passed_over(items):
        shard = work.measure(of, items, put, progress)
    return shard or _measure_in_two(work, of, items, put, progress)


def _measure_in_two(work: Work, of: str, items: range, put: Put, progress: Progress) -> Shard:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    middle = (items.start + items.stop + 1) // 2
    halves = (range(items.start, middle), range(middle, items.stop))
    return Shard.joined([measure_items(work, of, half, put, progress) for half in halves])


@contextmanager
def _shortage_passed_over(items: range) -> Iterator[None]:
    """Go on behind the block where memory is short, and there are items to divide: what the block held is free then."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        # RuntimeError: how the allocator of torch says so on a CPU.
        short = isinstance(error, MemoryError | torch.OutOfMemoryError) or "not enough memory" in str(error)
        if not short or len(items) < 2:
            raise


def _tasks(pieces: Iterable[Piece]) -> list[str]:
    return list(dict.fromkeys(piece.task for piece in pieces))


def _left(pieces: Iterable[Piece], folder: Path, progress: Progress) -> Iterator[Piece]:
    for piece in pieces:
        if piece.done(folder):
            progress.advance(piece.task, piece.amount, "already done")
        else:
            yield piece


def _write_results(results: Iterable[Numbered], waiting: Mapping[int, Piece], folder: Path, progress: Progress) -> None:
    for number, content in results:
        piece, shard, files = waiting[number], Shard.from_bytes(content), Files(folder)
        append(folder, shard.sent)
        if shard.error is not None:
            raise error_of(shard.error, f"the worker of shard {piece.shard + 1}")
        for path, written in shard.files.items():
            files.put(path, written)
        piece.write(shard, files)
        words = f"shard {piece.shard + 1}" if piece.words is None else piece.words(shard)
        progress.advance(piece.task, piece.amount, words)


def hash_of(contents: Iterable[str]) -> str:
    """Hash of the hashes of some images, in order (sha256, hex)."""
    return hashlib.sha256("\n".join(contents).encode()).hexdigest()


def read_part(part: str | None) -> tuple[int, int]:
    """Which of how many parts: ``2/8`` is the second of eight, None the first of one.

    >>> read_part("2/8")
    (2, 8)

    Raises:
        InputError: not of that form, or no such part.
    """
    if part is None:
        return 1, 1
    found = _PART.fullmatch(part.strip())
    which, parts = (int(number) for number in found.groups()) if found else (0, 0)
    if not 1 <= which <= parts:
        raise InputError(f"a part is I/N with I from 1 to N, such as 2/8 for the second of eight; got {part!r}")
    return which, parts


def part_note(part: str, pieces: Sequence[Piece], folder: Path) -> str:
    """How far a call is after a part of it."""
    there = sum(piece.done(folder) for piece in pieces)
    rest = "The same call without a part does what is left and makes the record."
    return f"Part {part} is done; {there} of {len(pieces)} shards are there. {rest}"


def _hash_of(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
