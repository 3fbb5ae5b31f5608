"""A disk that is full, or a place that may not be written: one clear message, and what was finished stays valid."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from snellen.core.errors import UnwritableError

#: What the system says when there is no room.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

#: A file under the name that it has until it is whole.
_UNFINISHED = re.compile(r"(?<![^/\\])\.([^/\\]+)\.(?:[0-9a-f]{12}|partial)$")

#: What it says when nothing may be written. Reading says the last two as well, of other files.
FORBIDDEN = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
#: How safetensors ends the message of an error of the system, which it hands on as one of its own.
_NUMBER = re.compile(r"\(os error (\d+)\)")
#: The system's error for a name that no file can have.
_NO_NAME = errno.ENAMETOOLONG


def tidy(folder: Path, since: float | None = None) -> None:
    """Take away what killed processes left of files that they were writing into a folder, at any depth.

    Args:
        folder: where they wrote.
        since: when this call began, in seconds since 1970. A file that was written later stays: another process, with
            its part of the same work, may be writing it at this moment. Without it nobody else may write there.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     _ = (Path(place) / ".report.json.0123456789ab").write_bytes(b"{")
    ...     tidy(Path(place))
    ...     list(Path(place).iterdir())
    []
    """
    for path in folder.rglob(".*"):
        if not _UNFINISHED.search(path.name):
            continue
        with suppress(FileNotFoundError):  # it got its name in between
            found = path.stat()
            if stat.S_ISREG(found.st_mode) and (since is None or found.st_mtime < since):
                path.unlink()


@contextmanager
def explained_unwritable(folder: Path) -> Iterator[None]:
    """Inside the block, what the disk refuses to take below ``folder`` becomes one clear error.

    Every other error passes as it is, those of reading files elsewhere too.

    >>> try:
    ...     with explained_unwritable(Path("run")):
    ...         raise OSError(errno.EROFS, "Read-only file system", "run/report.json")
    ... except UnwritableError as error:
    ...     str(error).partition(". ")[0]
    'cannot write to run/report.json: Read-only file system'

    Raises:
        UnwritableError: no room, or no permission.
    """
    try:
        yield
    except UnwritableError:
        raise
    except (OSError, SafetensorError) as error:
        met = of_system(error)
        if met is None or not _is_ours(met, folder):
            raise
        raise unwritable(met, folder) from error


def unwritable(error: OSError, folder: Path) -> UnwritableError:
    """The error in words: what could not be written, how much room there is, and how to go on.

    Args:
        error: of the system.
        folder: where it was to be written; the name in the error is preferred.
    """
    place = _UNFINISHED.sub(r"\1", os.fsdecode(error.filename)) if error.filename else str(folder)
    words = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in NO_ROOM:
        words, fix = f"{words}{_room(folder)}", "make room"
    elif error.errno in FORBIDDEN:
        fix = "allow writing there, or choose another place"
    else:
        return UnwritableError(f"cannot write to {folder}: {words}")
    advice = f"What was finished before stays valid: {fix}" if os.path.exists(folder) else fix.capitalize()
    return UnwritableError(f"cannot write to {place}: {words}. {advice}, and give the same call again")


def of_system(error: Exception) -> OSError | None:
    """An error of the system, also where safetensors met it; None: it is another.

    >>> of_system(SafetensorError("I/O error: No space left on device (os error 28)")).errno == errno.ENOSPC
    True
    """
    if isinstance(error, SafetensorError) and (number := _NUMBER.search(str(error))):
        return OSError(int(number[1]), os.strerror(int(number[1])))
    return error if isinstance(error, OSError) else None


def refused(error: OSError) -> bool:
    """Whether an error can only be one of writing: no room, or a disk that is read-only."""
    return error.errno in {*NO_ROOM, errno.EROFS}


def _is_ours(error: OSError, folder: Path) -> bool:
    if refused(error):
        return True
    # Parquet files are written by a library that gives the name in its message alone.
    return error.errno in {*FORBIDDEN, _NO_NAME} and str(folder) in f"{error.filename} {error.filename2} {error}"


def _room(folder: Path) -> str:
    """How much room is left on the disk of a folder, or nothing where that is unknown."""
    with suppress(OSError):
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        return f" ({shutil.disk_usage(there).free / 1e6:.1f} MB are free)"
    return ""
