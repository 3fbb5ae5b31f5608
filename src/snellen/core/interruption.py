"""What a call that was interrupted says: that its folder is incomplete, and how to go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: How the sentence begins.
_STOPPED = "stopped; "


def how_to_resume(folder: Path, again: str = "the same call") -> str:
    """The sentence that the command line prints, and that an interruption in Python carries.

    >>> how_to_resume(Path("run"))
    'stopped; run is incomplete, and the same call resumes where this stopped'

    Args:
        folder: that was being filled.
        again: what resumes it.
    """
    return f"{_STOPPED}{folder} is incomplete, and {again} resumes where this stopped"


@contextmanager
def noted_interruption(folder: Path | None) -> Iterator[None]:
    """Inside the block, Ctrl-C carries a note on how to resume, which Python and notebooks show below the traceback.

    Args:
        folder: that is filled; None where nothing is kept, and what a call inside says is withdrawn: its folder goes,
            too. The outermost of several is named.
    """
    try:
        yield
    except KeyboardInterrupt as stopped:
        others = [note for note in getattr(stopped, "__notes__", []) if not note.startswith(_STOPPED)]
        stopped.__notes__ = others + ([how_to_resume(folder)] if folder is not None and folder.exists() else [])
        raise
