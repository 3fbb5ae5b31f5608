"""Small tar and Parquet shards, good and bad."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from snellen.core.errors import RejectedImageError
from snellen.core.images import ImageSet

STORED = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def png(value: int = 0, size: tuple[int, int] = (4, 3)) -> bytes:
    """A grey picture."""
    stream = io.BytesIO()
    Image.new("RGB", size, (value,) * 3).save(stream, "PNG")
    return stream.getvalue()


def tar_bytes(
    members: Sequence[tuple[str, bytes] | tarfile.TarInfo] | Mapping[str, bytes], form: int = tarfile.PAX_FORMAT
) -> bytes:
    """An archive of members in order; a TarInfo is written without content."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for member in members.items() if isinstance(members, Mapping) else members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            archive.addfile(info, io.BytesIO(member[1]))
    return stream.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    """A link, pipe or device."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def header(name: bytes, size: int | bytes, kind: bytes = b"0", **fields: bytes) -> bytes:
    """One raw header of POSIX ustar with a right checksum."""
    block = bytearray(512)
    block[: len(name)] = name
    block[100:108] = b"0000644\0"
    block[124:136] = size if isinstance(size, bytes) else b"%011o\0" % size
    block[136:148] = b"00000000000\0"
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    for place, value in fields.items():
        start = int(place.removeprefix("at_"))
        block[start : start + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(content: bytes) -> bytes:
    """Content as it stands in an archive."""
    return content + bytes(-len(content) % 512)


END = bytes(1024)


def hugging_face(columns: Mapping[str, Mapping[str, object]]) -> dict[bytes, bytes]:
    """What ``datasets`` writes beside the columns of a Parquet file."""
    return {b"huggingface": json.dumps({"info": {"features": columns}}).encode()}


def write_parquet(
    path: Path,
    images: Sequence[bytes | None],
    *,
    names: Sequence[str] | None = None,
    group: int = 4,
    binary: bool = False,
    **columns: object,
) -> Path:
    """One file in the layout of ``datasets``, or with a plain column of bytes."""
    stored = (
        pa.array(images, pa.binary())
        if binary
        else pa.array([{"bytes": one, "path": f"{number}.png"} for number, one in enumerate(images)], STORED)
    )
    table = pa.table({"image": stored, **columns})
    if names is not None:
        described = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": list(names)}}
        table = table.replace_schema_metadata(hugging_face(described))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=group)
    return path


def archive(path: Path, *members: Any, form: int = tarfile.PAX_FORMAT) -> Path:
    """Write an archive of members, as for :func:`tar_bytes`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tar_bytes(members, form))
    return path


def raw(path: Path, *parts: bytes) -> Path:
    """Write bytes behind one another."""
    path.write_bytes(b"".join(parts))
    return path


def reason(images: ImageSet, example_id: str) -> str:
    """Why an image of the set is rejected."""
    with pytest.raises(RejectedImageError) as caught:
        images.read(images.ids.index(example_id))
    return str(caught.value)


def grey(images: ImageSet, index: int) -> int:
    """The value of a grey picture."""
    return images.read(index).getpixel((0, 0))[0]
