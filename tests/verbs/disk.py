"""The disk below a folder, whose changes are counted and named: one of them fails, or the process ends with it."""

import errno
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import safetensors.torch
from safetensors import SafetensorError

#: The part of a name that is another one in each call: of a file that is not whole, and of a shard that is not.
_RANDOM = re.compile(r"(?<=\.)[0-9a-f]{12}$|(?<=/\.partial-)\w{8}")


class Killed(BaseException):
    """The process ends; nothing of it touches the disk any more."""


class Disk:
    """Counts and names the changes of the disk below a folder.

    A change is whatever needs room or a name: a folder, a file that is opened for writing or copied, a table, weights,
    a new name. Flushing is not counted; the test of an audit on a full disk counts it. The change is named for what was
    done to which file, after how many finished files, and how often since the last of these. So a call that goes on
    names its changes as one does that nothing interrupted.

    Attributes:
        made: the changes since ``begin``, in order.
        stop: given how many changes came before, and the name of the next, how it fails. A full disk refuses this one
            change; a killed process makes none any more, so that nothing is tidied up.
    """

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._folder = str(folder)
        self._finished: set[str] = set()
        self.begin()
        writes = ((pq, "write_table"), (shutil, "copyfile"), (safetensors.torch, "serialize_file"))
        for place, name in ((os, "replace"), (os, "link"), (os, "mkdir"), *writes):
            self._count(patch, place, name)
        for place, name in ((os, "unlink"), (os, "rmdir"), (shutil, "rmtree")):
            self._end(patch, place, name)
        self._open(patch)
        patch.setattr(os, "fsync", lambda _descriptor: None)

    def begin(self, stop: Callable[[int, str], BaseException | None] = lambda _before, _name: None) -> None:
        """Before each call of a verb: its changes are counted from none, and fail as ``stop`` says."""
        self.made: list[str] = []
        self.stop = stop
        self._often: Counter[str] = Counter()
        self._dead = False

    def _change(self, operation: str, path: object) -> None:
        place = _RANDOM.sub("", os.fspath(path)) if isinstance(path, str | os.PathLike) else ""
        if not place.startswith(self._folder):
            return
        if self._dead:
            raise Killed
        what = f"{operation} {place.removeprefix(self._folder)} after {len(self._finished)}"
        self._often[what] += 1
        name = f"{what}, {self._often[what]}"
        error = self.stop(len(self.made), name)
        if error is not None:
            self._dead, self.stop = isinstance(error, Killed), lambda _before, _name: None
            raise error
        self.made.append(name)

    def _finish(self, path: object) -> None:
        if str(path).startswith(self._folder) and str(path) not in self._finished:
            self._finished.add(str(path))
            self._often.clear()

    def _count(self, patch: pytest.MonkeyPatch, place: object, name: str) -> None:
        real = getattr(place, name)

        def call(*arguments, **options):
            path = arguments[name in ("write_table", "copyfile", "serialize_file")]
            try:
                if not (name == "mkdir" and os.path.isdir(path)):  # which the system would refuse, and nobody minds
                    self._change(name, path)
            except OSError as error:
                if name != "serialize_file":
                    raise
                raise SafetensorError(f"I/O error: {error.strerror} (os error {error.errno})") from error
            made = real(*arguments, **options)
            if name in ("replace", "link"):
                self._finish(arguments[1])
            return made

        patch.setattr(place, name, call)

    def _end(self, patch: pytest.MonkeyPatch, place: object, name: str) -> None:
        real = getattr(place, name)

        def call(*arguments, **options):
            if self._dead:
                raise Killed
            return real(*arguments, **options)

        patch.setattr(place, name, call)

    def _open(self, patch: pytest.MonkeyPatch) -> None:
        real = Path.open

        def opened(path, mode="r", *arguments, **options):
            if set(mode) & set("wxa+"):
                self._change("open", path)
            return real(path, mode, *arguments, **options)

        patch.setattr(Path, "open", opened)


def full(path: object = None) -> OSError:
    """What the system says when there is no room."""
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
