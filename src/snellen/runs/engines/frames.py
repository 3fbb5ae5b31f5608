"""How this process and its workers talk: framed bytes, and errors as words.

A frame is one letter for its kind, the length of what follows as eight bytes, and so many bytes.
"""

from __future__ import annotations

import json
import struct
import traceback
from enum import Enum
from typing import BinaryIO, NamedTuple

from snellen.core import errors
from snellen.core.errors import SnellenError, WorkerError

_HEAD = struct.Struct("!cQ")


class Kind(bytes, Enum):
    """What a frame holds."""

    SETUP = b"S"
    READY = b"Y"
    JOB = b"J"
    RESULT = b"R"
    ERROR = b"E"


class Frame(NamedTuple):
    """One message."""

    kind: Kind
    content: bytes = b""


def write_frame(stream: BinaryIO, frame: Frame) -> None:
    """Send a message. Raises OSError when nobody reads it."""
    stream.write(_HEAD.pack(frame.kind.value, len(frame.content)))
    stream.write(frame.content)
    stream.flush()


def read_frame(stream: BinaryIO) -> Frame | None:
    """Receive a message; None when the other side is gone, also in the middle of one."""
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    letter, length = _HEAD.unpack(head)
    content = stream.read(length)
    return Frame(Kind(letter), content) if len(content) == length else None


def error_frame(error: Exception) -> Frame:
    """An error as a message: our own by name and text, any other with where it happened."""
    ours = isinstance(error, SnellenError) and getattr(errors, type(error).__name__, None) is type(error)
    described = {
        "name": type(error).__name__ if ours else None,
        "text": str(error) if ours else "".join(traceback.format_exception(error)),
    }
    return Frame(Kind.ERROR, json.dumps(described).encode())


def error_of(content: bytes, worker: str) -> SnellenError:
    """The error of a worker, to be raised here.

    >>> error_of(error_frame(errors.ModelError("scores are wrong")).content, "worker 1")
    ModelError('scores are wrong')
    """
    described = json.loads(content)
    kind = getattr(errors, described["name"]) if described["name"] else None
    return (
        kind(described["text"]) if kind is not None else WorkerError(f"{worker} failed:\n{described['text'].rstrip()}")
    )
