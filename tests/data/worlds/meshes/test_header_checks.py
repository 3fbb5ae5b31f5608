"""Headers that announce more than their file holds."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snellen.core.errors import RejectedImageError
from snellen.data.worlds.meshes.mesh_renderer import check_header
from tests.data.worlds.meshes.small_meshes import triangle_glb

BINARY_STL = bytes(80) + struct.pack("<I", 1) + bytes(50)
TEXT_STL = b"solid a\nfacet normal 0 0 1\nouter loop\n"
PLY = b"ply\nformat ascii 1.0\nelement vertex 3\nend_header\n0 0 0\n1 0 0\n0 1 0\n"


def glb_of(described: bytes) -> bytes:
    """A binary glTF file that is nothing but its description."""
    size = len(described)
    return struct.pack("<4sIII4s", b"glTF", 2, 20 + size, size, b"JSON") + described


@pytest.mark.parametrize(
    ("suffix", "content"), [(".stl", BINARY_STL), (".stl", TEXT_STL), (".ply", PLY), (".glb", triangle_glb())]
)
def test_whole_files_pass(suffix: str, content: bytes) -> None:
    check_header(suffix, content)


@pytest.mark.parametrize(
    ("suffix", "content", "said"),
    [
        (".stl", b"", "neither a text STL"),
        (".stl", BINARY_STL[:80] + struct.pack("<I", 2**31) + bytes(50), "neither a text STL"),
        (".stl", b"solid but nothing else", "neither a text STL"),
        (".ply", b"plyx", "end_header"),
        (".ply", PLY.replace(b"vertex 3", b"vertex 2000000000"), "2000000000.* elements"),
        (".ply", PLY.replace(b"vertex 3", b"vertex -3"), "elements"),
        (".glb", b"glTF", "begins with 'glTF'"),
        (".glb", triangle_glb(uri="../../secret.bin"), "names other files"),
        (".glb", triangle_glb(uri="file:///etc/passwd"), "names other files"),
        (".glb", triangle_glb(count=2**31), "announces 2147483648 elements"),
        (".glb", triangle_glb(count=-1), "announces -1 elements"),
        (".glb", glb_of(b'{"accessors":[{"count":1000000000000},{"count":-1000000000000}]}'), "elements"),
        (".glb", glb_of(b'{"accessors":[{"count":Infinity}]}'), "cannot be read"),
        (".glb", triangle_glb().replace(b'"asset"', b'"asset'), "cannot be read"),
        (".glb", triangle_glb().replace(b'[{"byteLength"', b' {"byteLength"'), "cannot be read"),
    ],
)
def test_what_is_refused(suffix: str, content: bytes, said: str) -> None:
    with pytest.raises(RejectedImageError, match=said):
        check_header(suffix, content)


@given(st.sampled_from([".stl", ".ply", ".glb"]), st.integers(0, 200), st.binary(min_size=1, max_size=4))
def test_any_damage_is_read_or_refused(suffix: str, place: int, harm: bytes) -> None:
    whole = {".stl": BINARY_STL, ".ply": PLY, ".glb": triangle_glb()}[suffix]
    try:
        check_header(suffix, whole[:place] + harm + whole[place + len(harm) :])
    except RejectedImageError:
        return  # any other error would be one
