"""What all pages of one desk share: runs, decisions, pictures and jobs."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

from snellen.core.errors import InputError
from snellen.core.finding import Finding
from snellen.desk.decisions import Decision, Decisions
from snellen.desk.image_table import ImageTable
from snellen.desk.jobs import Jobs
from snellen.desk.pictures import Pictures
from snellen.desk.queues import Queue, queue_of
from snellen.desk.run_folder import RunFolder, finding_id
from snellen.desk.workplace import Workplace

#: Runs whose images stay in memory: 1,000,000 take about 100 MB.
_TABLES, _QUEUES = 3, 24


class Desk:
    """One desk over one folder of runs.

    Args:
        folder: that holds the runs, or a run.
        store: folder of the desk's own files; None: beside the runs.

    Raises:
        InputError: no such folder, or the desk's own cannot be written.
    """

    def __init__(self, folder: Path, store: Path | None = None) -> None:
        self.workplace = Workplace(folder, store)
        self.store = self.workplace.store
        self.decisions = Decisions(self.store / "decisions.sqlite")
        self.pictures = Pictures(self.store)
        self.jobs = Jobs(self.store, self.workplace.place)
        self._tables: OrderedDict[str, tuple[RunFolder, ImageTable]] = OrderedDict()
        self._queues: OrderedDict[tuple[str, str], tuple[RunFolder, Queue]] = OrderedDict()
        self._lock = threading.RLock()

    def close(self) -> None:
        """Stop the jobs, and close the file of decisions."""
        self.jobs.close()
        self.decisions.close()

    def table(self, run: RunFolder) -> ImageTable:
        """The images of a run.

        Raises:
            InputError: they cannot be read.
        """
        with self._lock:
            known = self._tables.get(run.id)
            if known is None or known[0] is not run:  # the run was written anew
                self._tables[run.id] = run, ImageTable(run.path)
                while len(self._tables) > _TABLES:
                    self._tables.popitem(last=False)
            self._tables.move_to_end(run.id)
            return self._tables[run.id][1]

    def table_or_none(self, run: RunFolder) -> ImageTable | None:
        """The images of a run; None where there are none."""
        try:
            return self.table(run)
        except InputError:
            return None

    def queue(self, run: RunFolder, finding: Finding) -> Queue:
        """The queue of a finding."""
        key = run.id, finding.key
        with self._lock:
            known = self._queues.get(key)
            if known is None or known[0] is not run:
                self._queues[key] = run, queue_of(run, finding, self.table_or_none(run))
                while len(self._queues) > _QUEUES:
                    self._queues.popitem(last=False)
            self._queues.move_to_end(key)
            return self._queues[key][1]

    def queues(self, run: RunFolder) -> list[Queue]:
        """The queues of all findings that have images."""
        return [queue for finding in run.findings if (queue := self.queue(run, finding)).items]

    def reviewed(self, run: RunFolder) -> list[tuple[Queue, list[Decision]]]:
        """Queues about which somebody decided, each with the decisions that stand."""
        return [
            (queue, decisions)
            for queue in self.queues(run)
            if (decisions := self.decisions.standing(run.key, finding_id(queue.finding)))
        ]
