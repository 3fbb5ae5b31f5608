"""The run directory of an audit without one: a temporary folder that lives as long as somebody holds the report."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Self


class KeptFolder:
    """A temporary folder, removed when nobody holds this object any more, or when the process that made it ends.

    As a context it is removed only where that ends with an error.

    Attributes:
        path: of the run directory in it, which only this user may read.
    """

    def __init__(self) -> None:
        outer = tempfile.mkdtemp(prefix="snellen-")
        self.path = Path(outer) / "run"
        self._end = weakref.finalize(self, _remove, outer, os.getpid())

    def __copy__(self) -> Self:
        return self  # a copy of a report holds the same folder

    def __deepcopy__(self, known: object) -> Self:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is not None:
            self._end()


def _remove(folder: str, process: int) -> None:
    if os.getpid() == process:  # a fork that ends must not take it from its parent
        shutil.rmtree(folder, ignore_errors=True)
