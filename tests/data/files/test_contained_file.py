"""Paths below a folder, and no others."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from snellen.core.errors import RejectedImageError
from snellen.data.files.contained_file import is_within, kind_of_file, locate, printable, read_file


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root" / "sub").mkdir(parents=True)
    (tmp_path / "root" / "sub" / "a.bin").write_bytes(b"inside")
    (tmp_path / "secret.bin").write_bytes(b"outside")
    return tmp_path / "root"


@pytest.mark.parametrize("path", ["sub/a.bin", "./sub/a.bin", "sub/../sub/a.bin", "sub//a.bin"])
def test_files_inside_are_read(root: Path, path: str) -> None:
    assert read_file(root, path, 100) == b"inside"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "empty"),
        ("/etc/passwd", "absolute"),
        ("C:\\windows\\a.png", "absolute"),
        ("../secret.bin", "leads out of its folder"),
        ("sub/../../secret.bin", "leads out of its folder"),
        ("../no-such-file", "leads out of its folder"),
        ("..", "leads out of its folder"),
        (".", "leads out of its folder|a folder"),
        ("sub", "not a file but a folder"),
        ("sub/b.bin", "no such file"),
        ("sub/a.bin/b", "cannot be followed|no such file"),
        ("sub/\0", "cannot be followed"),
        ("x" * 5000, "cannot be followed"),
    ],
)
def test_everything_else_is_rejected(root: Path, path: str, reason: str) -> None:
    with pytest.raises(RejectedImageError, match=reason):
        locate(root, path)


def test_absolute_paths_are_rejected_even_inside(root: Path) -> None:
    with pytest.raises(RejectedImageError, match="absolute"):
        locate(root, str(root / "sub" / "a.bin"))


def test_links_are_followed_and_must_stay_inside(root: Path) -> None:
    (root / "in").symlink_to("sub/a.bin")
    (root / "out").symlink_to("../secret.bin")
    (root / "chain").symlink_to("out")
    (root / "loop").symlink_to("loop")
    (root / "up").symlink_to("..")
    assert read_file(root, "in", 100) == b"inside"
    for path in ("out", "chain", "up/secret.bin"):
        with pytest.raises(RejectedImageError, match="leads out of its folder"):
            locate(root, path)
    with pytest.raises(RejectedImageError, match="cannot be followed"):
        locate(root, "loop")


def test_sockets_and_pipes_are_not_opened(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)  # paths of sockets must be short
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
    for path, kind in (("pipe", "a named pipe"), ("socket", "a socket")):
        with pytest.raises(RejectedImageError, match=f"not a file but {kind}"):
            read_file(root, path, 100)


def test_a_pipe_put_there_between_looking_and_opening_does_not_hang(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(root / "pipe")
    monkeypatch.setattr("snellen.data.files.contained_file.locate", lambda folder, path: folder / path)
    with pytest.raises(RejectedImageError, match="not a file but a named pipe"):
        read_file(root, "pipe", 100)


def test_a_link_put_there_between_looking_and_opening_is_not_followed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "out").symlink_to("../secret.bin")
    monkeypatch.setattr("snellen.data.files.contained_file.locate", lambda folder, path: folder / path)
    with pytest.raises(RejectedImageError, match="cannot be read"):
        read_file(root, "out", 100)


def test_size_is_a_limit(root: Path) -> None:
    assert read_file(root, "sub/a.bin", 6) == b"inside"
    with pytest.raises(RejectedImageError, match="6 bytes, more than 5"):
        read_file(root, "sub/a.bin", 5)


def test_files_without_a_true_size_are_limited_too(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Path("/proc")
    if not (kernel / "cpuinfo").is_file():
        pytest.skip("no files that claim to be empty here")
    with pytest.raises(RejectedImageError, match="more than 10 bytes"):
        read_file(kernel, "cpuinfo", 10)


def test_within_is_judged_by_whole_parts() -> None:
    assert is_within(Path("/a/b/c"), Path("/a/b"))
    assert not is_within(Path("/a/bc"), Path("/a/b"))
    assert not is_within(Path("/a/b"), Path("/a/b"))


def test_odd_names_are_printable() -> None:
    assert printable("é.png") == "é.png"
    assert printable(os.fsdecode(b"\xff.png")) == "\\xff.png"
    assert kind_of_file(0) == "something else"
