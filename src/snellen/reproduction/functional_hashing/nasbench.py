"""The table of NASBench-101 from its file, without TensorFlow: records of JSON, in each a protobuf message in base64.

Ying et al., *NAS-Bench-101*, ICML 2019. A record of a TFRecord file is its length (8 bytes, little-endian), a masked
CRC-32C of that, the content, a masked CRC-32C of the content. The content is a JSON list: hash, epochs, bits of the
matrix, operations, and the message: at the start, halfway and at the end the training time and the accuracies on
training, validation and test images. About 5 million records of 4, 12, 36 and 108 epochs, three runs each, are read as
a stream; those of the epochs that nobody needs are passed over.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from snellen.core.errors import InputError
from snellen.systems.functional_hashing.cells import INPUT, OUTPUT, Cell, canonical

#: Epochs of the runs that are hashed, and of those that score.
PROBE_EPOCHS, SCORE_EPOCHS = 4, 108

_MOST_BYTES = 2**20
_POLYNOMIAL = 0x82F63B78


def _crc_table() -> tuple[int, ...]:
    found = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
        found.append(value)
    return tuple(found)


_CRC = _crc_table()


def masked_crc(content: bytes) -> int:
    """The checksum of a TFRecord file: CRC-32C, turned and shifted.

    >>> hex(masked_crc(b"123456789"))
    '0xc78ab0e5'
    """
    crc = 0xFFFFFFFF
    for byte in content:
        crc = (crc >> 8) ^ _CRC[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


@dataclass(frozen=True)
class RunFigures:
    """Figures at one moment of a run: training time in seconds, accuracies in [0, 1]."""

    seconds: float
    train: float
    valid: float
    test: float


@dataclass(frozen=True)
class Row:
    """One training of a cell.

    Attributes:
        structure: the canonical cell, as text.
        epochs: of the training.
        halfway, final: figures.
    """

    structure: str
    epochs: int
    halfway: RunFigures
    final: RunFigures


def read_rows(path: Path, epochs: Sequence[int] = (PROBE_EPOCHS, SCORE_EPOCHS)) -> Iterator[Row]:
    """The runs of a file, as a stream.

    Args:
        path: of ``nasbench_full.tfrecord`` or ``nasbench_only108.tfrecord``.
        epochs: that are wanted.

    Raises:
        InputError: the file cannot be read, is damaged, or holds something else.
    """
    try:
        with path.open("rb") as file:
            for number, content in enumerate(_records(file, path)):
                try:
                    _, length, bits, operations, message = json.loads(content)
                    if length in epochs:
                        yield _row(length, bits, operations, base64.b64decode(message, validate=True))
                except (ValueError, TypeError, LookupError, struct.error, binascii.Error, InputError) as error:
                    raise InputError(f"{path}: record {number} is none of NASBench-101: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def _records(file: BinaryIO, path: Path) -> Iterator[bytes]:
    while head := file.read(12):
        if len(head) < 12:
            raise InputError(f"{path} ends within a record; download it again")
        length, checksum = struct.unpack("<QI", head)
        if masked_crc(head[:8]) != checksum or length > _MOST_BYTES:
            raise InputError(f"{path} is no TFRecord file, or damaged: the checksum of a length is wrong")
        content = file.read(length)
        if len(content) < length or len(file.read(4)) < 4:
            raise InputError(f"{path} ends within a record; download it again")
        yield content


def _row(epochs: int, bits: str, operations: str, message: bytes) -> Row:
    names = tuple(operations.split(","))
    size = math.isqrt(len(bits))
    if size * size != len(bits) or len(names) != size or (names[0], names[-1]) != (INPUT, OUTPUT):
        raise InputError(f"a matrix of {len(bits)} bits with {len(names)} operations")
    matrix = tuple(tuple(int(bit) for bit in bits[row * size : (row + 1) * size]) for row in range(size))
    measured = [_measured(part) for number, part in _fields(message) if number == 1 and isinstance(part, bytes)]
    if len(measured) < 3:
        raise InputError(f"{len(measured)} measurements; expected those of start, half and end")
    return Row(canonical(Cell(matrix, names[1:-1])).encode(), epochs, measured[1], measured[2])


def _measured(message: bytes) -> RunFigures:
    found = {number: value for number, value in _fields(message) if isinstance(value, float)}
    return RunFigures(*(found[number] for number in (2, 3, 4, 5)))


def _fields(message: bytes) -> Iterator[tuple[int, bytes | float | int]]:
    """Number and value of each field of a protobuf message: doubles, bytes and integers."""
    place = 0
    while place < len(message):
        tag, place = _integer(message, place)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, place = _integer(message, place)
            yield number, value
        elif kind == 1:
            (real,) = struct.unpack_from("<d", message, place)
            yield number, real
            place += 8
        elif kind == 2:
            length, place = _integer(message, place)
            if place + length > len(message):
                raise InputError("a message that ends within a field")
            yield number, message[place : place + length]
            place += length
        else:
            raise InputError(f"a field of the kind {kind}")


def _integer(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, place


@dataclass(frozen=True)
class TableEntry:
    """All that a search needs of a cell.

    Attributes:
        probe: final train, halfway train, final validation, halfway validation accuracy of the first short run.
        runs: final figures of the long runs.
    """

    probe: tuple[float, ...]
    runs: tuple[RunFigures, ...]


def read_table(
    path: Path, *, probe_epochs: int = PROBE_EPOCHS, score_epochs: int = SCORE_EPOCHS
) -> Mapping[str, TableEntry]:
    """Entries by canonical cell; the test accuracy is no part of what is hashed.

    Raises:
        InputError: as :func:`read_rows`, or no cell with both kinds of runs.
    """
    probes: dict[str, tuple[float, ...]] = {}
    runs: dict[str, list[RunFigures]] = {}
    for row in read_rows(path, (probe_epochs, score_epochs)):
        if row.epochs == probe_epochs:
            found = (row.final.train, row.halfway.train, row.final.valid, row.halfway.valid)
            probes.setdefault(row.structure, found)
        if row.epochs == score_epochs:
            runs.setdefault(row.structure, []).append(row.final)
    table = {one: TableEntry(probe, tuple(runs[one])) for one, probe in probes.items() if one in runs}
    if not table:
        raise InputError(
            f"{path} holds no cell with runs of {probe_epochs} and of {score_epochs} epochs; the file "
            "nasbench_full.tfrecord does, and nasbench_only108.tfrecord does not"
        )
    return table
