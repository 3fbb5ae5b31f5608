"""One call at a time writes into a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from snellen.core.errors import RunConflictError

try:
    import fcntl
except ImportError:  # not on Windows, where two calls at once are not detected
    fcntl = None  # type: ignore[assignment]


@contextmanager
def only_writer(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold a folder for the time of a ``with`` block; the folder is made, and nothing is left in it.

    ``shared``: others that share it may hold it at the same time.

    The lock is the system's, on the folder itself, so that a killed call holds nothing. A file system that knows no
    locks is written to without one.

    Raises:
        RunConflictError: another call holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunConflictError(
                f"another call is writing into {folder} at this moment; wait for it, or choose another --out"
            ) from error
        except OSError:
            pass
        yield
    finally:
        with suppress(OSError):
            os.close(descriptor)
