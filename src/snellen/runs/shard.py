"""What was measured in a shard, also as bytes: on the way from a worker into the run folder."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from snellen.core.budget import Spent
from snellen.core.evidence import Evidence

_LENGTH = struct.Struct("!Q")


@dataclass(frozen=True, eq=False)
class Shard:
    """What was measured in a shard.

    Attributes:
        evidence: tables by name.
        extra: JSON values. Where shards are joined, lists are concatenated and mappings merged; of any other value the
            first is kept.
        seconds: clock readings by what was done.
        files: content by path, of a worker that may not write into the folder itself.
        sent: lines for ``sent.jsonl``, of the same; also those of work that failed.
        error: of work that failed in a worker, as :func:`~snellen.runs.engines.frames.error_frame` writes it.
    """

    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    sent: Sequence[str] = ()
    error: bytes | None = None

    def to_bytes(self) -> bytes:
        """A head in JSON with the lengths of what follows: tables in Arrow's stream format, blobs, files."""
        tables = {name: _stream(part.table) for name, part in self.evidence.items()}
        blobs = {key: blob for part in self.evidence.values() for key, blob in part.blobs.items()}
        described = {
            name: {
                "spent": part.spent.counts(),
                "assumptions": part.assumptions,
                "control": part.control,
                "blobs": list(part.blobs),
            }
            for name, part in self.evidence.items()
        }
        head = {
            "evidence": described,
            "tables": {name: len(content) for name, content in tables.items()},
            "blobs": {key: len(blob) for key, blob in blobs.items()},
            "files": {path: len(content) for path, content in self.files.items()},
            "extra": dict(self.extra),
            "seconds": dict(self.seconds),
            "sent": list(self.sent),
            "error": None if self.error is None else self.error.decode(),
        }
        encoded = json.dumps(head).encode()
        contents = (*tables.values(), *blobs.values(), *self.files.values())
        return b"".join([_LENGTH.pack(len(encoded)), encoded, *contents])

    @classmethod
    def from_bytes(cls, content: bytes) -> Shard:
        """Read what :meth:`to_bytes` made."""
        view = memoryview(content)
        (length,) = _LENGTH.unpack(view[: _LENGTH.size])
        head = json.loads(bytes(view[_LENGTH.size : _LENGTH.size + length]))
        parts = _parts(view[_LENGTH.size + length :], head["tables"], head["blobs"], head["files"])
        tables, blobs, files = next(parts), next(parts), next(parts)
        evidence = {
            name: Evidence(
                pa.ipc.open_stream(pa.py_buffer(tables[name])).read_all(),
                Spent(**described["spent"]),
                tuple(described["assumptions"]),
                described["control"],
                {key: bytes(blobs[key]) for key in described["blobs"]},
            )
            for name, described in head["evidence"].items()
        }
        held = {path: bytes(part) for path, part in files.items()}
        error = None if head["error"] is None else head["error"].encode()
        return cls(evidence, head["extra"], head["seconds"], held, head["sent"], error)

    @classmethod
    def joined(cls, shards: Sequence[Shard]) -> Shard:
        """What was measured in pieces of a shard, in their order, as one."""
        names = dict.fromkeys(name for shard in shards for name in shard.evidence)
        seconds = dict.fromkeys((name for shard in shards for name in shard.seconds), 0.0)
        extra: dict[str, Any] = {}
        for shard in shards:
            for name, value in shard.seconds.items():
                seconds[name] += value
            for key, value in shard.extra.items():
                extra[key] = _with(extra[key], value) if key in extra else value
        evidence = {
            name: Evidence.merge(one.evidence[name] for one in shards if name in one.evidence) for name in names
        }
        # Files show how a table is cut: that of a shard is whole.
        whole = {name: replace(part, table=part.table.combine_chunks()) for name, part in evidence.items()}
        return cls(
            whole,
            extra,
            seconds,
            {path: content for shard in shards for path, content in shard.files.items()},
            tuple(line for shard in shards for line in shard.sent),
        )


def _with(before: Any, value: Any) -> Any:  # noqa: ANN401 - JSON values
    """Lists one behind the other, keys of both mappings; of anything else the first."""
    if isinstance(before, list):
        return [*before, *value]
    return {**before, **value} if isinstance(before, dict) else before


def _parts(view: memoryview, *sizes: Mapping[str, int]) -> Iterator[dict[str, memoryview]]:
    place = 0
    for named in sizes:
        found = {}
        for name, size in named.items():
            found[name] = view[place : place + size]
            place += size
        yield found


def _stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content
