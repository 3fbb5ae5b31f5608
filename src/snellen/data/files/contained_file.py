"""Files below a folder, and no others: paths from listings and manifests are data, and may be hostile."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

from snellen.core.errors import RejectedImageError


def printable(path: str) -> str:
    r"""A file name as text that can be stored: bytes that are not UTF-8 are written as escapes.

    >>> printable("caf\udce9.png")
    'caf\\xe9.png'
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def distinguished(names: Iterable[str]) -> list[str]:
    r"""The same names, those that occurred before with a number behind: two names may be written alike.

    >>> distinguished(["caf\\xe9", "b", "caf\\xe9"])
    ['caf\\xe9', 'b', 'caf\\xe9 (2)']
    """
    seen, times = set[str](), dict[str, int]()
    found: list[str] = []
    for name in names:
        one = name
        while one in seen:
            times[name] = times.get(name, 1) + 1
            one = f"{name} ({times[name]})"
        seen.add(one)
        found.append(one)
    return found


def locate(root: Path, relative: str) -> Path:
    """Find the file that a path relative to ``root`` names, with all links followed.

    Raises:
        RejectedImageError: the path is absolute, leads out of ``root`` (by ``..`` or by a link), goes round in a loop
            of links, or names nothing or something that is not a regular file. The file is not opened.
    """
    if not relative:
        raise RejectedImageError("the path is empty")
    if PurePosixPath(relative).is_absolute() or PureWindowsPath(relative).drive:
        raise RejectedImageError("the path is absolute; write it relative to the folder that holds the images")
    try:
        base = root.resolve(strict=True)
        found = (base / relative).resolve(strict=True)
        kind = found.stat().st_mode
    except FileNotFoundError as error:
        # A missing file outside is reported as outside: a manifest must not reveal whether it exists there.
        if not is_within(Path(os.path.normpath(root / relative)), Path(os.path.normpath(root))):
            raise RejectedImageError(_OUTSIDE) from error
        raise RejectedImageError("there is no such file") from error
    except (OSError, RuntimeError, ValueError) as error:
        # RuntimeError: Python before 3.13 on a loop of links; ValueError: a zero byte in the name.
        raise RejectedImageError(f"the path cannot be followed: {_words(error)}") from error
    if not is_within(found, base):
        raise RejectedImageError(_OUTSIDE)
    if not stat.S_ISREG(kind):
        raise RejectedImageError(f"not a file but {kind_of_file(kind)}")
    return found


_OUTSIDE = "the path leads out of its folder"


def read_file(root: Path, relative: str, max_bytes: int) -> bytes:
    """Read a whole file below ``root``.

    Raises:
        RejectedImageError: as :func:`locate`, or the file cannot be read or is larger than ``max_bytes``.
    """
    try:
        with open_file(root, relative) as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > max_bytes:
                raise RejectedImageError(f"the file has {size} bytes, more than {max_bytes} (max_bytes)")
            content = stream.read(max_bytes + 1)
    except OSError as error:
        raise RejectedImageError(f"cannot be read: {_words(error)}") from error
    if len(content) > max_bytes:
        raise RejectedImageError(f"the file has more than {max_bytes} bytes (max_bytes)")
    return content


def open_file(root: Path, relative: str) -> BinaryIO:
    """Open a regular file below ``root`` to read.

    Raises:
        RejectedImageError: as :func:`locate`, or the file cannot be opened.
    """
    path = locate(root, relative)
    # The file may have been exchanged since it was checked: opening must not wait for a writer of a pipe, and the
    # opened file is checked again.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        raise RejectedImageError(f"cannot be read: {_words(error)}") from error
    kind = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(kind):
        os.close(descriptor)
        raise RejectedImageError(f"not a file but {kind_of_file(kind)}")
    return os.fdopen(descriptor, "rb")


def is_within(path: Path, folder: Path) -> bool:
    """Whether a path lies below a folder, judged by its parts alone."""
    return folder in path.parents


def kind_of_file(mode: int) -> str:
    """What something is that is not a regular file, in words.

    >>> kind_of_file(stat.S_IFIFO)
    'a named pipe'
    """
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFBLK: "a device",
        stat.S_IFCHR: "a device",
        stat.S_IFLNK: "a link",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")


def _words(error: Exception) -> str:
    if isinstance(error, RuntimeError):
        return "a loop of links"  # its own words hold the whole path, that to the folder too
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or type(error).__name__
