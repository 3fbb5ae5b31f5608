"""The runs below a folder, as they are now."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from snellen.core.errors import InputError
from snellen.core.formats import INPUTS, MANIFEST, REPORT, TREATMENT
from snellen.desk.run_folder import RECORDS, RunFolder, kind_of, modified

#: Folder of the desk's own files, below the folder of the runs.
STORE = "snellen-desk"

#: Levels below the folder that are searched, and folders that are looked into.
DEEPEST, MOST_FOLDERS = 4, 5_000

#: Files of requirements that are offered, and bytes of one.
_MOST_REQUIREMENTS, _LARGEST_REQUIREMENTS = 50, 2**20

#: Seconds for which what was found in a folder holds.
_FRESH = 1.0

#: Files that say what a run is: while they stay as they are, what was read of it holds.
_SAY = tuple(one.file for one in (INPUTS, MANIFEST, REPORT, TREATMENT, *RECORDS.values()))

#: Kinds whose folders may hold further runs, as that of a training holds its audit.
_AROUND = ("training", "requirements", "comparison", "monitoring")


class Workplace:
    """The runs below a folder; the folder may be a run itself.

    Args:
        folder: where runs are.
        store: folder of the desk's own files; None: beside the runs.

    Raises:
        InputError: there is no such folder.
    """

    def __init__(self, folder: Path, store: Path | None = None) -> None:
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder; name the folder that holds your runs")
        self.folder = folder.resolve()
        self._alone = kind_of(self.folder) not in (None, *_AROUND)
        #: Where new runs are written: of a run by itself beside it, as it stays as it is.
        self.place = self.folder.parent if self._alone else self.folder
        self.store = self.place / STORE if store is None else store.resolve()
        self._lock = threading.Lock()
        self._found: dict[str, RunFolder] = {}
        self._stamps: dict[str, tuple[float, ...]] = {}
        self._looked = float("-inf")

    def runs(self) -> list[RunFolder]:
        """The runs, the latest first."""
        with self._lock:
            if time.monotonic() - self._looked > _FRESH:
                self._look()
            return sorted(self._found.values(), key=lambda run: (-run.changed, run.name))

    def run(self, name: str) -> RunFolder | None:
        """The run with this id; None without such a one."""
        with self._lock:
            if name not in self._found or time.monotonic() - self._looked > _FRESH:
                self._look()
            return self._found.get(name)

    def audits(self) -> list[RunFolder]:
        """The finished audits, the latest first."""
        return [run for run in self.runs() if run.audited]

    def requirements(self) -> list[Path]:
        """Files of requirements: ``*requirements*.toml`` in the folder of the runs, or in the one around it."""
        found: list[Path] = []
        for folder in (self.place, self.place.parent):
            try:
                named = sorted(folder.glob("*requirements*.toml"))
                own = [one for one in named if one.is_file() and not one.is_symlink()]
                found += [one for one in own if 0 < one.stat().st_size <= _LARGEST_REQUIREMENTS]
            except OSError:
                continue
        return found[:_MOST_REQUIREMENTS]

    def _folders(self) -> Iterator[tuple[Path, str]]:
        """Runs below the folder; with a run by itself those that were made of it: NAME-treated, NAME-decided."""
        yield from _runs_below(self.folder)
        if self._alone:
            start = (f"{self.folder.name}-treated", f"{self.folder.name}-decided")
            for path in sorted(self.place.iterdir()):
                if path.name.startswith(start) and path.is_dir() and not path.is_symlink():
                    kind = kind_of(path)
                    if kind is not None:
                        yield path, kind

    def _look(self) -> None:
        """Look again; what was read of a run is kept while its files stay as they are."""
        found: dict[str, RunFolder] = {}
        stamps: dict[str, tuple[float, ...]] = {}
        for path, kind in self._folders():
            name = path.relative_to(self.place).as_posix()
            fresh = RunFolder(path, self.folder.name if name == "." else name, kind)
            stamps[fresh.id] = tuple(modified(path / file) for file in _SAY)
            known = self._found.get(fresh.id)
            same = known is not None and self._stamps.get(fresh.id) == stamps[fresh.id] and known.kind == kind
            found[fresh.id] = known if same and known is not None else fresh
        self._found, self._stamps, self._looked = found, stamps, time.monotonic()


def _runs_below(folder: Path) -> Iterator[tuple[Path, str]]:
    """Folders that hold a run, with its kind. Links are not followed, and no run is searched for another."""
    waiting, seen = [(folder, 0)], 0
    while waiting:
        place, depth = waiting.pop()
        seen += 1
        kind = kind_of(place)
        if kind is not None:
            yield place, kind
            if kind not in _AROUND:
                continue
        if depth == DEEPEST or seen > MOST_FOLDERS:
            continue
        try:
            with os.scandir(place) as entries:
                below = [one.path for one in entries if one.is_dir(follow_symlinks=False) and _searched(one.name)]
        except OSError:
            continue
        waiting += [(Path(one), depth + 1) for one in sorted(below, reverse=True)]


def _searched(name: str) -> bool:
    return not name.startswith(".") and name not in (STORE, "node_modules", "__pycache__")
