"""What reviewers decided: a log in one SQLite file, each entry on the disk before it is answered for."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from snellen.core.errors import InputError

#: Verdicts about an image, or about two.
Verdict: TypeAlias = Literal["keep", "relabel", "drop", "same", "different", "unsure"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

#: Characters of a reviewer's name, and of a label.
LONGEST_NAME, LONGEST_LABEL = 60, 400

#: Seconds that a decision waits for another desk on the same folder.
_WAIT = 30.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
    run TEXT NOT NULL, queue TEXT NOT NULL, item TEXT NOT NULL, reviewer TEXT NOT NULL,
    verdict TEXT NOT NULL, label TEXT, undoes INTEGER UNIQUE
);
CREATE INDEX IF NOT EXISTS by_queue ON entries (run, queue, reviewer, item);
"""

#: The last decision of each reviewer about each item, of those that were not undone.
_STANDING = """
SELECT item, reviewer, verdict, label, number FROM entries AS one
WHERE run = ? AND queue = ? AND undoes IS NULL
  AND NOT EXISTS (SELECT 1 FROM entries AS other WHERE other.undoes = one.number)
  AND NOT EXISTS (
    SELECT 1 FROM entries AS later
    WHERE later.run = one.run AND later.queue = one.queue AND later.item = one.item
      AND later.reviewer = one.reviewer AND later.number > one.number AND later.undoes IS NULL
      AND NOT EXISTS (SELECT 1 FROM entries AS other WHERE other.undoes = later.number))
ORDER BY number
"""


@dataclass(frozen=True)
class Decision:
    """The verdict of one reviewer about one item.

    Attributes:
        item: of the queue.
        reviewer: by name.
        verdict: one of :data:`VERDICTS`.
        label: name of the class that it should have; for ``relabel`` alone.
        number: of the entry in the log.
    """

    item: str
    reviewer: str
    verdict: Verdict
    label: str | None = None
    number: int = 0


class Decisions:
    """The log of one folder of runs.

    Args:
        file: the SQLite file; made where it is missing.

    Raises:
        InputError: it cannot be written, or is no such file.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._lock = threading.Lock()
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(file, timeout=_WAIT, check_same_thread=False, isolation_level=None)
            self._base.execute("PRAGMA trusted_schema=OFF")  # a file that came with the runs of somebody else
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=FULL")  # on the disk before it is answered for
            self._base.executescript(_SCHEMA)
        except (sqlite3.Error, OSError) as error:
            raise InputError(
                f"decisions cannot be kept in {file} ({error}); name another place with --store FOLDER"
            ) from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._base.close()

    def add(self, run: str, queue: str, item: str, reviewer: str, verdict: str, label: str | None = None) -> Decision:
        """Write down a decision; it is on the disk when this returns.

        Raises:
            InputError: no name, no verdict, or a label that does not go with it.
        """
        name = checked_reviewer(reviewer)
        if verdict not in VERDICTS:
            raise InputError(f"verdict {verdict!r}: expected one of {', '.join(VERDICTS)}")
        if (verdict == "relabel") != bool(label):
            raise InputError("relabel needs the name of a class, and no other verdict has one")
        if label is not None and len(label) > LONGEST_LABEL:
            raise InputError(f"a class name has at most {LONGEST_LABEL} characters here")
        with self._written():
            done = self._base.execute(
                "INSERT INTO entries (run, queue, item, reviewer, verdict, label) VALUES (?, ?, ?, ?, ?, ?)",
                (run, queue, item, name, verdict, label),
            )
            return Decision(item, name, verdict, label, int(done.lastrowid or 0))

    def undo(self, run: str, queue: str, reviewer: str) -> Decision | None:
        """Take back the last decision of a reviewer in a queue; None where none stands. The log keeps both."""
        name = checked_reviewer(reviewer)
        with self._written():
            row = self._base.execute(
                "SELECT item, verdict, label, number FROM entries AS one WHERE run = ? AND queue = ? AND "
                "reviewer = ? AND undoes IS NULL AND NOT EXISTS "
                "(SELECT 1 FROM entries AS other WHERE other.undoes = one.number) ORDER BY number DESC LIMIT 1",
                (run, queue, name),
            ).fetchone()
            if row is not None:
                self._base.execute(
                    "INSERT INTO entries (run, queue, item, reviewer, verdict, undoes) "
                    "VALUES (?, ?, ?, ?, 'undone', ?)",
                    (run, queue, row[0], name, row[3]),
                )
        return None if row is None else Decision(row[0], name, row[1], row[2], row[3])

    @contextmanager
    def _written(self) -> Iterator[None]:
        """One transaction, on the disk at its end: two presses at once take back two decisions, and none twice.

        Raises:
            InputError: the file cannot be written, as on a full disk; then nothing of it is.
        """
        try:
            with self._lock, self._base:  # commits, or rolls back
                self._base.execute("BEGIN IMMEDIATE")
                yield
        except sqlite3.Error as error:
            raise InputError(f"{self.file} cannot be written ({error}); decide again once it can") from error

    def standing(self, run: str, queue: str) -> list[Decision]:
        """The decisions that stand, in the order in which they were made."""
        with self._lock:
            rows = self._base.execute(_STANDING, (run, queue)).fetchall()
        return [Decision(item, reviewer, verdict, label, number) for item, reviewer, verdict, label, number in rows]

    def counts(self, run: str) -> dict[str, int]:
        """How many items of each queue somebody has decided about."""
        with self._lock:
            queues = [row[0] for row in self._base.execute("SELECT DISTINCT queue FROM entries WHERE run = ?", (run,))]
        return {queue: len({one.item for one in self.standing(run, queue)}) for queue in queues}


def checked_reviewer(name: str) -> str:
    """The name of a reviewer, without blanks around it.

    Raises:
        InputError: none, a long one, or one that cannot be shown.

    >>> checked_reviewer("  Ada ")
    'Ada'
    """
    short = name.strip()
    if not short or len(short) > LONGEST_NAME or not short.isprintable():
        raise InputError(f"write your name first: 1 to {LONGEST_NAME} characters that can be shown")
    return short


def reviewers_of(decisions: Sequence[Decision]) -> tuple[str, ...]:
    """Names of those who decided, in the order of their first decision that stands."""
    return tuple(dict.fromkeys(one.reviewer for one in decisions))
