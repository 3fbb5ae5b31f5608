"""Files that each hold many images: which ones, and opened so that what is read is what was indexed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from snellen.core.errors import InputError, RejectedImageError
from snellen.data.files.contained_file import open_file, printable

#: Most shards of one set.
MAX_SHARDS = 10_000

_RANGE = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}")


@dataclass(frozen=True)
class ShardFile:
    """One file below a folder, and its identity when it was indexed.

    Attributes:
        root: the folder that it may not lie outside of, with all links followed.
        name: its path below the folder.
        identity: device, number, length and time of change; None before it was indexed.
    """

    root: Path
    name: str
    identity: tuple[int, int, int, int] | None = None

    @property
    def shown_as(self) -> str:
        """How ids and messages name it."""
        return printable(self.name)

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Open it to read.

        Raises:
            RejectedImageError: it is no regular file below the folder, or another one than was indexed.
        """
        with open_file(self.root, self.name) as stream:
            if self.identity is not None and identity_of(stream) != self.identity:
                raise RejectedImageError("its shard has changed since it was indexed; load the images again")
            yield stream


def identity_of(stream: BinaryIO) -> tuple[int, int, int, int]:
    """Device, number, length and time of change of an open file: to notice that it is another one now."""
    status = os.fstat(stream.fileno())
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def find_shards(place: str, suffix: str) -> list[ShardFile]:
    """The shards that a text names: one file, all with an ending in a folder, or a range of numbers.

    Files are in the order of their names. ``FOLDER/train-{0000..0146}.tar`` names 147 files, which must all be there;
    numbers have as many digits as the first. Links below a folder must stay inside.

    Args:
        place: path of a file or folder, or a path whose file name holds one range in braces.
        suffix: ending of shards in a folder, such as ".tar".

    Raises:
        InputError: nothing there, no such shards in the folder, or too many.
    """
    if not place or "\0" in place:
        raise InputError(f"{place!r} names no shards; give a file, a folder, or FOLDER/NAME-{{0000..0146}}{suffix}")
    path = Path(place)
    if path.is_dir():
        try:
            names = sorted(name for name in os.listdir(path) if not name.startswith("."))
        except OSError as error:
            raise InputError(f"{path} cannot be listed: {error.strerror or error}") from error
        names = [name for name in names if name.lower().endswith(suffix)]
        if not names:
            raise InputError(f"{path} holds no files ending in {suffix}")
    elif path.exists():
        path = path.resolve()
        return [ShardFile(path.parent, path.name)]
    else:
        names, path = _in_range(path, suffix), path.parent
    if len(names) > MAX_SHARDS:
        raise InputError(f"{place} has {len(names)} shards, more than {MAX_SHARDS}; load them in parts")
    return [ShardFile(path.resolve(), name) for name in names]


def _in_range(path: Path, suffix: str) -> list[str]:
    """Names of the files that a range in braces stands for."""
    found = _RANGE.search(path.name)
    if found is None:
        raise InputError(
            f"there is nothing at {path}; shards are given as a file, a folder, or with a range of numbers in the file "
            f"name, such as train-{{0000..0146}}{suffix}"
        )
    first, last = int(found[1]), int(found[2])
    if not 0 <= last - first < MAX_SHARDS:
        raise InputError(f"{found[0]} in {path} must rise, and name at most {MAX_SHARDS} shards")
    before, after = path.name[: found.start()], path.name[found.end() :]
    names = [f"{before}{number:0{len(found[1])}d}{after}" for number in range(first, last + 1)]
    missing = [name for name in names if not (path.parent / name).exists()]
    if missing:
        raise InputError(f"{path.parent} lacks {len(missing)} of {len(names)} shards; the first is {missing[0]}")
    return names
