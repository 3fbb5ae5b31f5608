"""Checksums of the files of a package: which files there should be, and whether they are those."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from snellen.core import package
from snellen.core.errors import InputError, RejectedImageError
from snellen.data.files.contained_file import read_file

_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


@cache
def stored_sums(name: str) -> dict[str, str]:
    """Path relative to the folder of the files → sha256 (hex), in the order of the list.

    >>> list(stored_sums("digits.sha256"))
    ['digits.csv.gz']
    """
    return read_sums(package.text(f"data/files/catalogue/digests/{name}"))


def read_sums(text: str) -> dict[str, str]:
    r"""Read what ``sha256sum`` writes.

    >>> read_sums("0" * 64 + "  a/b.png\n")["a/b.png"][:4]
    '0000'

    Raises:
        InputError: another kind of line.
    """
    sums = {}
    for line in text.splitlines():
        parts = _LINE.fullmatch(line)
        if parts is None:
            raise InputError(f"a line of checksums is 64 hexadecimal digits, two spaces and a path; got {line[:80]!r}")
        sums[parts[2]] = parts[1]
    return sums


def check_sums(root: Path, sums: Mapping[str, str], *, max_file_bytes: int, version: str) -> None:
    """Read every listed file once and compare.

    Args:
        root: folder of the files; none may lie outside of it.
        sums: as :func:`read_sums`.
        max_file_bytes: larger files are refused unread.
        version: what the checksums are of, for the message.

    Raises:
        InputError: a file is missing, cannot be read, is too large or is another one; the message names it.
    """
    for relative, expected in sums.items():
        try:
            found = hashlib.sha256(read_file(root, relative, max_file_bytes)).hexdigest()
        except RejectedImageError as error:
            raise InputError(f"{root / relative}: {error}; expected the file of {version}") from error
        if found != expected:
            raise InputError(
                f"{root / relative} is not the file of {version}: its sha256 is {found}, expected {expected}; install "
                f"that version, or pass verify=False to take the files as they are"
            )
