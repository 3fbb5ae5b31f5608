"""One call at a time writes into a folder."""

from __future__ import annotations

import hashlib
import importlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from snellen.core.errors import RunConflictError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

#: Locks of Windows.
_MSVCRT: Any = importlib.import_module("msvcrt") if os.name == "nt" else None

#: How many may share a folder on Windows.
_SHARES = 64


@contextmanager
def only_writer(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold a folder for the time of a ``with`` block; the folder is made, and nothing is left in it.

    ``shared``: others that share it may hold it at the same time.

    The lock is the system's, so that a killed call holds nothing: on the folder itself, or, on Windows, on an empty
    file in the user's folder of temporary files, which another user or computer does not see. A file system that knows
    no locks is written to without one.

    Raises:
        RunConflictError: another call holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _held_on_windows(folder, shared) if fcntl is None else _held(folder, shared):
        yield


@contextmanager
def _held(folder: Path, shared: bool) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _in_use(folder) from error
        except OSError:
            pass
        yield
    finally:
        with suppress(OSError):
            os.close(descriptor)


@contextmanager
def _held_on_windows(folder: Path, shared: bool) -> Iterator[None]:
    """Windows opens no folders, and its locks have one owner: who shares takes one of the bytes, who does not all."""
    key = hashlib.sha256(os.path.normcase(folder.resolve()).encode("utf-8", "surrogatepass")).hexdigest()
    file = Path(tempfile.gettempdir()) / f"snellen-{key[:32]}.lock"
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:  # no such folder, or the call before is deleting its file
        yield
        return
    size, places = (1, range(_SHARES)) if shared else (_SHARES, range(1))
    try:
        taken = next((place for place in places if _locked(descriptor, place, size)), None)
        if taken is None:
            raise _in_use(folder)
        try:
            yield
        finally:
            os.lseek(descriptor, taken, os.SEEK_SET)
            with suppress(OSError):  # none is held where the file system knows no locks
                _MSVCRT.locking(descriptor, _MSVCRT.LK_UNLCK, size)
    finally:
        os.close(descriptor)
        with suppress(OSError):  # another call has it open
            file.unlink()


def _locked(descriptor: int, place: int, size: int) -> bool:
    """Whether no other holds these bytes: they are ours now, or the file system knows no locks."""
    os.lseek(descriptor, place, os.SEEK_SET)
    try:
        _MSVCRT.locking(descriptor, _MSVCRT.LK_NBLCK, size)
    except PermissionError:  # EACCES: another holds one of them
        return False
    except OSError:
        pass
    return True


def _in_use(folder: Path) -> RunConflictError:
    return RunConflictError(
        f"another call is writing into {folder} at this moment; wait for it, or choose another --out"
    )
