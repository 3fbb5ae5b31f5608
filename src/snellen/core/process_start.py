"""The start of a process of ours: thousands of modules are imported, and none of what they make is garbage.

Python searches for garbage after some hundred new objects, and now and then through everything that is there. That is a
sixth of the time until a command calls its network (docs/benchmarks.md). A process that somebody else started is left
as it is: only the command line and the workers call these functions.
"""

from __future__ import annotations

import gc

#: New objects between two searches while a process starts. An audit makes some half a million.
_OBJECTS = 100_000

#: The thresholds before a start that has not ended.
_before: list[tuple[int, int, int]] = []


def begin_start() -> None:
    """Search less often until :func:`end_start`."""
    if not _before:
        _before.append(gc.get_threshold())
        gc.set_threshold(_OBJECTS, *_before[0][1:])


def end_start() -> None:
    """Search as often as usual again; nothing where no start began.

    >>> usual = gc.get_threshold()
    >>> begin_start()
    >>> end_start()
    >>> gc.get_threshold() == usual
    True
    """
    if _before:
        gc.set_threshold(*_before.pop())
