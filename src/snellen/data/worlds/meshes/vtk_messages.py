"""What VTK says, kept off the terminal and not lost; and whether it can draw without a screen."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from snellen.core.errors import SnellenError, import_extra

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


def check_off_screen() -> None:
    """Raise SnellenError where VTK finds no OpenGL that draws off screen.

    VTK tries X, EGL and OSMesa in turn. What it makes when none of them is there looks like a window of OSMesa, and
    crashes at the first drawing; the only sign is a warning.
    """
    core = import_extra("vtkmodules.vtkRenderingCore", "meshes", "looking at meshes")
    import_extra("vtkmodules.vtkRenderingOpenGL2", "meshes", "looking at meshes")
    with vtk_messages_kept() as messages:
        window = core.vtkRenderWindow()
        made = type(window).__name__
        del window
    missing = made == "vtkOSOpenGLRenderWindow" and any("libOSMesa not found" in message for message in messages)
    if missing or made == "vtkRenderWindow":
        raise SnellenError(
            "VTK finds no OpenGL that draws off screen (neither X, EGL nor OSMesa); install one that runs on the CPU, "
            "such as Debian's libegl1 with libegl-mesa0, or use PyBulletRenderer"
        )
