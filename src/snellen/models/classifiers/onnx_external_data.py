"""Find the weight files that an ONNX model keeps beside itself."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

from snellen.core.errors import InputError

#: An ``external_data`` entry of a tensor: StringStringEntryProto with key "location" (fields 1 and 2 of the message).
_LOCATION = b"\x0a\x08location\x12"


def external_files(content: bytes) -> tuple[str, ...]:
    r"""Names of the files that hold tensors of a serialised ONNX model, in order of first mention.

    >>> external_files(b"..." + _LOCATION + b"\x06w.data" + b"...")
    ('w.data',)

    Raises:
        InputError: a name that leaves the folder of the model.
    """
    names: list[str] = []
    start = content.find(_LOCATION)
    while start >= 0:
        length, begin = _varint(content, start + len(_LOCATION))
        name = content[begin : begin + length].decode("utf-8", errors="replace")
        if name not in names:
            names.append(name)
        start = content.find(_LOCATION, begin)
    for name in names:
        parts = PurePosixPath(name.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in name or not name:
            raise InputError(f"the ONNX file keeps weights in {name!r}, which is outside of its folder; not read")
    return tuple(names)


def hash_with_external_files(path: Path, content: bytes) -> str:
    """The sha256 of a model's content; with external weight files, of its hash and theirs, in order.

    Raises:
        InputError: a weight file is missing.
    """
    own = hashlib.sha256(content).hexdigest()
    names = external_files(content)
    if not names:
        return own
    digest = hashlib.sha256(own.encode())
    for name in names:
        part = path.parent / name
        if not part.is_file():
            raise InputError(f"{path} keeps weights in {name}, which is missing beside it; copy both files")
        with part.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").hexdigest().encode())
    return digest.hexdigest()


def _varint(content: bytes, start: int) -> tuple[int, int]:
    """A protobuf varint: its value, and the position after it."""
    value = shift = 0
    for position in range(start, min(start + 5, len(content))):
        value |= (content[position] & 0x7F) << shift
        if content[position] < 0x80:
            return value, position + 1
        shift += 7
    return 0, start
