"""A shard as bytes, on the way to whoever measures it and back."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from snellen.core.budget import Spent
from snellen.core.evidence import Evidence
from snellen.core.images import ImageSet

#: Column beside those of the image set: row of the source.
_ROW = "snellen.row"
_ABOUT = b"snellen.job"
_LENGTH = struct.Struct("!Q")


@dataclass(frozen=True, eq=False)
class Job:
    """Images to be measured.

    Attributes:
        of: which set they are of: "audit", "train" or "tune".
        table: what is known about them.
        rows: of the source (n,).
        contents: hash of the hashes of their stored bytes; None where it need not be compared.
    """

    of: str
    table: pa.Table
    rows: NDArray[np.int64]
    contents: str | None = None

    @classmethod
    def of_images(cls, name: str, images: ImageSet, contents: str | None) -> Job:
        """The job that asks for these images."""
        assert images.rows is not None
        return cls(name, images.table, images.rows, contents)

    def to_bytes(self) -> bytes:
        """Arrow's stream format."""
        about = {_ABOUT: json.dumps({"of": self.of, "contents": self.contents}).encode()}
        table = self.table.append_column(_ROW, pa.array(self.rows)).replace_schema_metadata(about)
        return _stream(table)

    @classmethod
    def from_bytes(cls, content: bytes) -> Job:
        """Read what :meth:`to_bytes` made."""
        table = pa.ipc.open_stream(content).read_all()
        about = json.loads(table.schema.metadata[_ABOUT])
        rows = table[_ROW].to_numpy().astype(np.int64)
        return cls(about["of"], table.drop_columns(_ROW).replace_schema_metadata(None), rows, about["contents"])


@dataclass(frozen=True, eq=False)
class ShardResult:
    """What was measured in a shard.

    Attributes:
        evidence: by check.
        rejected: id and reason of each image that could not be used.
        seconds: by check, and of reading.
        sent: lines for ``sent.jsonl``, of a worker that may not write them itself.
    """

    evidence: Mapping[str, Evidence]
    rejected: Sequence[Mapping[str, str]] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    sent: Sequence[str] = ()

    def to_bytes(self) -> bytes:
        """A head in JSON with the lengths of what follows: tables in Arrow's stream format, and blobs."""
        tables = {name: _stream(part.table) for name, part in self.evidence.items()}
        blobs = {key: blob for part in self.evidence.values() for key, blob in part.blobs.items()}
        told = {
            name: {
                "spent": part.spent.counts(),
                "assumptions": part.assumptions,
                "control": part.control,
                "blobs": list(part.blobs),
            }
            for name, part in self.evidence.items()
        }
        head = {
            "evidence": told,
            "tables": {name: len(content) for name, content in tables.items()},
            "blobs": {key: len(blob) for key, blob in blobs.items()},
            "rejected": list(self.rejected),
            "seconds": dict(self.seconds),
            "sent": list(self.sent),
        }
        encoded = json.dumps(head).encode()
        return b"".join([_LENGTH.pack(len(encoded)), encoded, *tables.values(), *blobs.values()])

    @classmethod
    def from_bytes(cls, content: bytes) -> ShardResult:
        """Read what :meth:`to_bytes` made."""
        view = memoryview(content)
        (length,) = _LENGTH.unpack(view[: _LENGTH.size])
        place = _LENGTH.size + length
        head = json.loads(bytes(view[_LENGTH.size : place]))
        parts: list[memoryview] = []
        for size in (*head["tables"].values(), *head["blobs"].values()):
            parts.append(view[place : place + size])
            place += size
        tables = dict(zip(head["tables"], parts, strict=False))
        blobs = dict(zip(head["blobs"], map(bytes, parts[len(tables) :]), strict=True))
        evidence = {
            name: Evidence(
                pa.ipc.open_stream(pa.py_buffer(tables[name])).read_all(),
                Spent(**told["spent"]),
                tuple(told["assumptions"]),
                told["control"],
                {key: blobs[key] for key in told["blobs"]},
            )
            for name, told in head["evidence"].items()
        }
        return cls(evidence, head["rejected"], head["seconds"], head["sent"])


def _stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content
