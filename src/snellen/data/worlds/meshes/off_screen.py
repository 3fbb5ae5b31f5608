"""Finds out whether VTK can draw without a screen before it is asked to: it ends the process when it cannot."""

from __future__ import annotations

from snellen.core.errors import SnellenError, import_extra
from snellen.data.worlds.meshes.vtk_messages import vtk_messages_kept


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
