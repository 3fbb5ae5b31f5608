"""Keeps what VTK says: off the terminal, but not lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from snellen.core.errors import import_extra

_lock = threading.RLock()


@contextmanager
def vtk_messages_kept() -> Iterator[list[str]]:
    """Inside a ``with`` block VTK's warnings and errors go to the list, which is filled when the block ends.

    VTK has one output window and one logger for the whole process, so one thread at a time is inside. Both are put
    back.
    """
    core = import_extra("vtkmodules.vtkCommonCore", "meshes", "looking at meshes")
    messages: list[str] = []
    with _lock:
        before, verbosity = core.vtkOutputWindow.GetInstance(), core.vtkLogger.GetCurrentVerbosityCutoff()
        kept = core.vtkStringOutputWindow()
        core.vtkOutputWindow.SetInstance(kept)
        core.vtkLogger.SetStderrVerbosity(core.vtkLogger.VERBOSITY_OFF)
        try:
            yield messages
        finally:
            core.vtkOutputWindow.SetInstance(before)
            core.vtkLogger.SetStderrVerbosity(verbosity)
            messages.extend(
                dict.fromkeys(" ".join(line.split()) for line in kept.GetOutput().splitlines() if line.strip())
            )
