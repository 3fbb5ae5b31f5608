"""Files beside an ONNX file that hold its weights: which they are, and the hash of all of them.

The names are read from the fields of the file itself: the onnx package may be missing, and the hash must cover all that
a runtime reads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from snellen.core.errors import InputError

#: Messages of an ONNX file in which tensors lie: what each holds, by field. The entries of a tensor are its external
#: data.
_INSIDE: dict[str, dict[int, str]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {13: "StringStringEntryProto"},
}


def external_files(content: bytes) -> tuple[str, ...]:
    r"""Names of the files that hold tensors of a serialised ONNX model, each once.

    The fields of the file are read, in any order, without the onnx package.

    >>> entry = b"\n\x08location\x12\x06w.data"
    >>> tensor = b"\x6a" + bytes([len(entry)]) + entry  # field 13 of a tensor, which is field 5 of the graph, field 7
    >>> graph = b"\x2a" + bytes([len(tensor)]) + tensor
    >>> external_files(b"\x3a" + bytes([len(graph)]) + graph)
    ('w.data',)

    Raises:
        InputError: not an ONNX model, or a name that leaves the folder of the model.
    """
    names: dict[str, None] = {}
    waiting = [("ModelProto", 0, len(content))]
    while waiting:
        kind, start, end = waiting.pop()
        if kind == "StringStringEntryProto":
            held = {field: content[begin:stop] for field, begin, stop in _fields(content, start, end)}
            if held.get(1) == b"location":
                names[held.get(2, b"").decode("utf-8", errors="replace")] = None
            continue
        inside = _INSIDE[kind]
        waiting += [
            (inside[field], begin, stop) for field, begin, stop in _fields(content, start, end) if field in inside
        ]
    for name in names:
        parts = PurePosixPath(name.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in name or not name:
            raise InputError(f"the ONNX file keeps weights in {name!r}, which is outside of its folder; not read")
    return tuple(names)


def _fields(content: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Texts, bytes and messages inside of a protobuf message: number of the field, where it begins and where it stops.

    Stricter than parsers are: where two of them might read something else, the file is refused.
    """
    while start < end:
        tag, start = _varint(content, start, end)
        field, form = tag >> 3, tag & 7
        if not 1 <= field < 2**29:
            raise InputError(_DAMAGED.format(start))
        if form == 0:
            _, start = _varint(content, start, end)
            continue
        size, start = _varint(content, start, end) if form == 2 else ({1: 8, 5: 4}.get(form, -1), start)
        if size < 0 or start + size > end:
            raise InputError(_DAMAGED.format(start))
        if form == 2:
            yield field, start, start + size
        start += size


_DAMAGED = "the file is not an ONNX model that can be read: damaged at byte {}; export it again"


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


def _varint(content: bytes, start: int, end: int) -> tuple[int, int]:
    """A protobuf varint of up to ten bytes, none of them in vain: its value, and the position after it."""
    value = 0
    for count, position in enumerate(range(start, min(start + 10, end))):
        value |= (content[position] & 0x7F) << 7 * count
        if content[position] < 0x80:
            if count and not content[position]:
                break
            return value, position + 1
    raise InputError(_DAMAGED.format(start))
