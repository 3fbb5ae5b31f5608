"""The start of a process of ours: thousands of modules are imported, and none of what they make is garbage.

Python searches for garbage after some hundred new objects, and now and then through everything that is there. That is a
sixth of the time until a command calls its network (docs/benchmarks.md). A process that somebody else started is left
as it is: only the command line and the workers call these functions.
"""

from __future__ import annotations

import gc

#: New objects between two searches while a process starts. An audit makes some half a million.
_OBJECTS = 100_000

#: What Python does by itself.
_USUAL = gc.get_threshold()


def begin_start() -> None:
    """Search less often until :func:`end_start`."""
    gc.set_threshold(_OBJECTS, *_USUAL[1:])


def end_start() -> None:
    """Search as often as usual again, and no more in what was imported; nothing where no start began.

    >>> before = gc.get_freeze_count(), gc.get_threshold()
    >>> end_start()
    >>> before == (gc.get_freeze_count(), gc.get_threshold())
    True
    """
    if gc.get_threshold()[0] == _OBJECTS:
        gc.freeze()
        gc.set_threshold(*_USUAL)
