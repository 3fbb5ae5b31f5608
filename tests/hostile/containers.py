"""The same pictures inside archives and tables, and what only an archive or a table can do."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tests.data.files.shard_making import END, header, padded, special, tar_bytes, write_parquet
from tests.hostile.folders import NAMES, picture
from tests.hostile.pictures import ODD, REJECTED


def pictures() -> dict[str, tuple[bytes, str | None]]:
    """Content and, if it must be rejected, a pattern of the reason, by name."""
    found: dict[str, tuple[bytes, str | None]] = {f"good {number}": (picture(number), None) for number in range(20)}
    found |= {f"odd {name}".replace("/", " "): (make(), None) for name, make in ODD.items()}
    found |= {f"bad {name}".replace("/", " "): (make(), reason) for name, (make, reason) in REJECTED.items()}
    return found


#: Members that only an archive can have, and patterns of their reasons.
TAR_MEMBERS: dict[str, tuple[bytes | tarfile.TarInfo, str]] = {
    "../up.png": (picture(900), "leads out"),
    "a/../../up.png": (picture(901), "leads out"),
    "/etc/passwd.png": (picture(902), "absolute"),
    "C:\\windows.png": (picture(903), "absolute"),
    "code.pkl": (b"cos\nsystem\n(S'touch pwned'\ntR.", "may run code"),
    "code.pyd": (b"cos\nsystem\n(S'touch pwned'\ntR.", "may run code"),
    "code.pth": (b"PK\x03\x04", "may run code"),
    "code.npy": (b"\x93NUMPY\x01\x00v\x00{'descr': '|O'", "may run code"),
    "inside.tar": (tar_bytes({"x.png": b"x"}), "inside the archive"),
    "inside.tar.gz": (b"\x1f\x8b", "inside the archive"),
    "inside.zip": (b"PK", "inside the archive"),
    "link.png": (special("link.png", tarfile.SYMTYPE, "/etc/passwd"), "a link"),
    "hard.png": (special("hard.png", tarfile.LNKTYPE, "good 0.png"), "a hard link"),
    "loop.png": (special("loop.png", tarfile.SYMTYPE, "loop.png"), "a link"),
    "pipe.png": (special("pipe.png", tarfile.FIFOTYPE), "a named pipe"),
    "zero.png": (special("zero.png", tarfile.CHRTYPE), "a device"),
    "disk.png": (special("disk.png", tarfile.BLKTYPE), "a device"),
    "label.png": (picture(904), "unknown split"),
}


def build_tar(place: Path) -> dict[str, str | None]:
    """Two shards of everything, and two that are damaged; ids and patterns of reasons."""
    expected: dict[str, str | None] = {}
    members: list[tuple[str, bytes] | tarfile.TarInfo] = []
    for name, (content, reason) in pictures().items():
        members.append((f"{name}.png", content))
        expected[f"a.tar/{name}.png"] = reason
    for name, (member, why) in TAR_MEMBERS.items():
        members.append(member if isinstance(member, tarfile.TarInfo) else (name, member))
        expected[f"a.tar/{name}"] = why
    members.append(("label.json", b'{"split": "<script>"}'))
    place.mkdir(parents=True, exist_ok=True)
    (place / "a.tar").write_bytes(tar_bytes(members))
    named = [
        (f"{name.replace('.', '').replace('/', '')}.png", picture(200 + number)) for number, name in enumerate(NAMES)
    ]
    (place / "b.tar").write_bytes(tar_bytes(named))
    expected |= {f"b.tar/{name}": None for name, _ in named}
    good = picture(300)
    (place / "c.tar").write_bytes(header(b"c.png", len(good)) + padded(good) + header(b"d.png", b"\xff" * 12) + END)
    (place / "d.tar").write_bytes(b"\x1f\x8b" + bytes(1000))
    (place / "e.tar").symlink_to("/etc/passwd")
    return expected | {"c.tar/c.png": None, "c.tar": "damaged at byte", "d.tar": "gzip", "e.tar": "out of its folder"}


def build_parquet(place: Path) -> dict[str, str | None]:
    """The pictures in a column, beside rows that name files, and a shard that is none."""
    found = pictures()
    stored: list[bytes | None] = [content for content, _ in found.values()]
    expected = {f"a/{row:06d}": reason for row, (_, reason) in enumerate(found.values())}
    write_parquet(place / "a.parquet", [*stored, None], group=16)
    (place / "b.parquet").write_bytes(b"PAR1" + b"\xff" * 200 + b"PAR1")
    (place / "c.parquet").symlink_to("/etc/passwd")
    expected[f"a/{len(found):06d}"] = "no bytes are stored"
    return expected | {"b.parquet": "not a readable Parquet file", "c.parquet": "out of its folder"}


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=True)
    return stream.getvalue()


def npz(members: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def npz_cases() -> dict[str, bytes]:
    """Archives of arrays of which the whole must be refused, or of which only the good arrays may be read."""
    good = npy(np.zeros((2, 8, 8), np.uint8))
    header_of_many = good.replace(b"(2, 8, 8)", b"(9, 8, 8)")
    endless = npy(np.zeros((1, 8, 8), np.uint8)).replace(b"(1, 8, 8)", b"(-1,8, 8)")
    whole = npz({"test_images.npy": good})
    return {
        "objects": npz({"test_images.npy": npy(np.array([{}], dtype=object))}),
        "a bomb": npz({"test_images.npy": good, "test_labels.npy": bytes(2**24)}),
        "a lie about its shape": npz({"test_images.npy": header_of_many}),
        "a negative shape": npz({"test_images.npy": endless}),
        "no array": npz({"test_images.npy": b"cos\nsystem\n(S'touch pwned'\ntR."}),
        "code in a header": npz({"test_images.npy": good.replace(b"'descr'", b"exit() ")}),
        "a name that leads out": npz({"../test_images.npy": good}),
        "cut off": whole[: len(whole) // 2],
        "only its end": whole[-40:],
        "text": b"x" * 500,
        "nothing": b"",
    }
