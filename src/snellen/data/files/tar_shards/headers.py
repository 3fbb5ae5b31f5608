"""The headers of a tar archive, read without trust: what is in it, and where. Nothing is unpacked.

Formats: Unix v7, POSIX ustar and pax, GNU. Sizes and names are checked before anything depends on them; a member that
is no plain file is listed with its reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from snellen.core.errors import RejectedImageError

BLOCK = 512

#: Largest extended header (bytes) and longest name (bytes) that are read.
MAX_EXTENDED_BYTES, MAX_NAME_BYTES = 64 * 1024, 4096

#: Most headers of one archive, extended ones included.
MAX_HEADERS = 4_000_000

#: How much may follow behind the end mark: archives are filled up with zeros to a multiple of 10,240 bytes or so.
_MAX_PADDING = 1024 * 1024

_FILES = b"0\x007"
_WITHOUT_CONTENT = {
    b"1": "a hard link, and links in archives are not followed",
    b"2": "a link, and links in archives are not followed",
    b"3": "not a file but a device",
    b"4": "not a file but a device",
    b"6": "not a file but a named pipe",
}
_SPARSE = "a sparse file: the archive holds parts of it only"

_COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"BZh": ("bzip2", "bunzip2"),
    b"\xfd7zXZ\x00": ("xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
    b"PK\x03\x04": ("zip", "unzip"),
}


@dataclass(frozen=True, slots=True)
class Member:
    """One member of an archive.

    Attributes:
        name: as it is stored, bytes that are not UTF-8 as surrogates; without "./" before and "/" behind.
        offset: where its content begins in the archive, bytes.
        size: of its content, bytes.
        problem: why it must not be read, or None.
        folder: whether it is a folder.
    """

    name: str
    offset: int
    size: int
    problem: str | None = None
    folder: bool = False


@dataclass
class _Extended:
    """What headers before a member say about it."""

    name: bytes | None = None
    size: int | None = None
    problem: str | None = None


def read_members(stream: BinaryIO, length: int) -> Iterator[Member]:
    """Every member in order, as the headers list them.

    Args:
        stream: the archive, seekable.
        length: of the archive, bytes.

    Raises:
        RejectedImageError: no tar archive, compressed, damaged, or cut off; members before the damage were given.
    """
    offset, extended = 0, _Extended()
    for _ in range(MAX_HEADERS):
        header = _at(stream, offset, BLOCK)
        if header == bytes(BLOCK):
            _check_end(stream, offset, length)
            return
        _check_header(header, offset)
        size = _number(header[124:136], "size", offset)
        kind, content = header[156:157], offset + BLOCK
        if kind in (b"x", b"g", b"L", b"K"):
            _check_inside(content + size, length, offset, "an extended header")
            if kind != b"K":
                _extend(extended, kind, _at(stream, content, size) if size <= MAX_EXTENDED_BYTES else None, size)
            offset = content + _padded(size)
            continue
        size = size if extended.size is None else extended.size
        if kind == b"S":
            content = _behind_sparse_map(stream, header, content)
        member = _member(header, kind, content, size, extended)
        offset, extended = member.offset + _padded(member.size), _Extended()
        if member.offset + member.size > length:
            yield Member(member.name, member.offset, member.size, member.problem or "the archive ends within this file")
            _check_inside(member.offset + member.size, length, content, f"{member.size} bytes of a member")
        yield member
    raise RejectedImageError(f"the archive has more than {MAX_HEADERS} headers; split it")


def _damaged(offset: int, what: str) -> RejectedImageError:
    return RejectedImageError(
        f"the archive is damaged at byte {offset}: {what}; members behind it, if any, are unknown"
    )


def _at(stream: BinaryIO, offset: int, size: int) -> bytes:
    stream.seek(offset)
    content = stream.read(size)
    if len(content) == size:
        return content
    if not offset:
        raise RejectedImageError(_kind_of_archive(content))
    raise _damaged(offset, "it ends here" if content else "it ends without an end mark")


def _check_header(header: bytes, offset: int) -> None:
    recorded = _number(header[148:156], "checksum", offset, _kind_of_archive(header) if not offset else None)
    rest = header[:148] + b" " * 8 + header[156:]
    # Some old programs add bytes as signed numbers.
    if recorded != sum(rest) and recorded != sum(value - 256 * (value > 127) for value in rest):
        raise _damaged(offset, "its checksum is wrong") if offset else RejectedImageError(_kind_of_archive(header))


def _kind_of_archive(header: bytes) -> str:
    for magic, (name, program) in _COMPRESSED.items():
        if header.startswith(magic):
            return f"compressed by {name}, and images are read by their places; unpack it once, with {program}"
    return "not a tar archive"


def _number(field: bytes, what: str, offset: int, instead: str | None = None) -> int:
    """A number in octal digits, or in base 256 as GNU writes large ones."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    if not re.fullmatch(rb"[0-7]*", digits):
        raise RejectedImageError(instead) if instead else _damaged(offset, f"the {what} is no number, or below 0")
    return int(digits or b"0", 8)


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _check_inside(end: int, length: int, offset: int, what: str) -> None:
    if end > length:
        raise _damaged(offset, f"{what} would end {end - length} bytes behind the end of the archive")


def _check_end(stream: BinaryIO, offset: int, length: int) -> None:
    """What follows the end mark must be zeros: other readers would find members there, or another file."""
    rest = length - offset
    stream.seek(offset)
    if rest > _MAX_PADDING or stream.read(rest).strip(b"\0"):
        raise _damaged(offset, "more follows behind the end mark, as when archives are put behind one another")


def _behind_sparse_map(stream: BinaryIO, header: bytes, content: int) -> int:
    """Where the content of a sparse file of GNU's old format begins: behind the rest of the list of its parts."""
    goes_on = header[482]
    while goes_on:
        goes_on = _at(stream, content, BLOCK)[504]
        content += BLOCK
    return content


def _extend(extended: _Extended, kind: bytes, content: bytes | None, size: int) -> None:
    if content is None:
        extended.problem = f"its extended header has {size} bytes, more than {MAX_EXTENDED_BYTES}"
        return
    if kind == b"L":
        extended.name = content.rstrip(b"\0")
        return
    records = _pax_records(content)
    if records is None:
        extended.problem = "its extended header is damaged"
    elif kind == b"g":
        if records.keys() & {b"path", b"size"} or any(key.startswith(b"GNU.sparse.") for key in records):
            raise RejectedImageError("the archive gives one name or size to all its members")
    else:
        if any(key.startswith(b"GNU.sparse.") for key in records):
            extended.problem = _SPARSE
        extended.name = records.get(b"GNU.sparse.name", records.get(b"path", extended.name))
        written = records.get(b"size", b"0")
        if not re.fullmatch(rb"[0-9]{1,19}", written):
            extended.problem = "its extended header gives no sensible size"
        elif b"size" in records:
            extended.size = int(written)


def _pax_records(content: bytes) -> dict[bytes, bytes] | None:
    """Records "LENGTH KEY=VALUE" and a line feed, LENGTH in decimal and of all of it; None if they are not."""
    found: dict[bytes, bytes] = {}
    position = 0
    while position < len(content) and content[position]:
        space = content.find(b" ", position, position + 8)
        digits = content[position:space] if space > 0 else b""
        end = position + int(digits) if re.fullmatch(rb"[0-9]{1,7}", digits) else 0
        key, equals, value = content[space + 1 : max(end - 1, 0)].partition(b"=")
        if not space < end <= len(content) or content[end - 1 : end] != b"\n" or not equals:
            return None
        found[key] = value
        position = end
    return found


def _member(header: bytes, kind: bytes, content: int, size: int, extended: _Extended) -> Member:
    problem, stored, folder = extended.problem, extended.name, False
    if stored is None:
        stored = header[:100].partition(b"\0")[0]
        prefix = header[345:500].partition(b"\0")[0]
        if header[257:263] == b"ustar\0" and prefix:
            stored = prefix + b"/" + stored
    if kind in _WITHOUT_CONTENT or kind == b"5":
        size, folder = 0, kind == b"5"
        problem = problem or _WITHOUT_CONTENT.get(kind)
    elif kind == b"S":
        problem = problem or _SPARSE
    elif kind not in _FILES:
        problem = problem or f"a member of the unknown kind {kind!r}"
    elif stored.endswith(b"/"):
        folder = True  # as the first format wrote folders
    if len(stored) > MAX_NAME_BYTES:
        problem = problem or f"its name has {len(stored)} bytes, more than {MAX_NAME_BYTES}"
        stored = stored[:200] + "…".encode()
    name = stored.decode("utf-8", "surrogateescape")
    name = re.sub(r"^(?:\./+)+", "", name) if not folder else name.strip("/")
    return Member(name, content, size, None if folder else problem or problem_of_name(name), folder)


def problem_of_name(name: str) -> str | None:
    """Why the name of a member is none that an archive of images has; nothing is ever written under it.

    >>> problem_of_name("cat/1.png"), problem_of_name("../1.png")
    (None, 'its name leads out of the archive')
    """
    parts = re.split(r"[/\\]", name)
    if not name or parts[-1] in ("", "."):
        return "it has no name"
    if parts[0] == "" or re.match(r"[A-Za-z]:", name):
        return "its name is absolute"
    if ".." in parts:
        return "its name leads out of the archive"
    if "\0" in name:
        return "its name holds a zero byte"
    return None
