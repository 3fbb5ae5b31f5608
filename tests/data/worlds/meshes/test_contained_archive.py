"""Folders out of archives, hostile ones too."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import pytest

from snellen.core.errors import InputError, RejectedImageError
from snellen.data.worlds.meshes.contained_archive import ArchiveLimits, extract_folder, opened_archive, read_member


def archive_of(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_a_folder_and_nothing_else(tmp_path: Path) -> None:
    path = archive_of(
        tmp_path / "a.zip", {"x/m/a.obj": b"1", "x/m/t/wood.jpg": b"22", "x/mm/b.obj": b"3", "x/c.obj": b"4", "d": b"5"}
    )
    with opened_archive(path) as archive:
        out = extract_folder(archive, "x/m", tmp_path / "out")
        top = extract_folder(archive, "", tmp_path / "top")
    assert tree(out) == {"a.obj": b"1", "t/wood.jpg": b"22"}
    assert tree(top) == {"d": b"5"}
    assert sorted(child.name for child in tmp_path.iterdir()) == ["a.zip", "out", "top"]  # nothing half made is left


def test_what_is_whole_is_kept_and_what_is_damaged_is_made_anew(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.zip", {"m/a.obj": b"1", "m/b.obj": b"2"})
    out = tmp_path / "out"
    with opened_archive(path) as archive:
        extract_folder(archive, "m", out)
        before = (out / "a.obj").stat().st_mtime_ns, out.stat().st_ino
        extract_folder(archive, "m", out)
        assert ((out / "a.obj").stat().st_mtime_ns, out.stat().st_ino) == before
        for harm in ("changed", "missing", "further", "link"):
            if harm == "changed":
                (out / "a.obj").write_bytes(b"9")
            elif harm == "missing":
                (out / "a.obj").unlink()
            elif harm == "further":
                (out / "c.obj").write_bytes(b"3")
            else:
                (out / "a.obj").unlink()
                (tmp_path / "elsewhere").write_bytes(b"1")
                (out / "a.obj").symlink_to(tmp_path / "elsewhere")
            extract_folder(archive, "m", out)
            assert tree(out) == {"a.obj": b"1", "b.obj": b"2"}
            assert not (out / "a.obj").is_symlink()
    assert sorted(child.name for child in tmp_path.iterdir()) == ["a.zip", "elsewhere", "out"]


@pytest.mark.parametrize(
    "name",
    [
        "m/../../evil",
        "m/./evil",
        "m/sub//evil",
        "m/..",
        "m//etc/evil",
        "m/C:/evil",
        "m/a:stream",
        "m/sub/../../../evil",
        "m/..\\evil",
    ],
)
def test_members_that_lead_outside(tmp_path: Path, name: str) -> None:
    path = archive_of(tmp_path / "a.zip", {"m/a.obj": b"1", name: b"evil"})
    with (
        opened_archive(path) as archive,
        pytest.raises(RejectedImageError, match="leads out of its folder"),
    ):
        extract_folder(archive, "m", tmp_path / "out" / "deep")
    assert not list(tmp_path.rglob("evil*"))
    assert not (tmp_path / "out").exists()


def test_absolute_names_are_outside_every_folder(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.zip", {"/m/a.obj": b"1"})
    with opened_archive(path) as archive, pytest.raises(RejectedImageError, match="no file in the folder"):
        extract_folder(archive, "/m", tmp_path / "out")


def test_links_are_no_files(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        link = zipfile.ZipInfo("m/a.obj")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with opened_archive(tmp_path / "a.zip") as archive, pytest.raises(RejectedImageError, match="not a plain file"):
        extract_folder(archive, "m", tmp_path / "out")


def test_two_members_of_one_name(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.zip", {"m/a.obj": b"1", "m/A.OBJ": b"2"})
    with opened_archive(path) as archive, pytest.raises(RejectedImageError, match="in the archive twice"):
        extract_folder(archive, "m", tmp_path / "out")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("m/a", "m/a/b"), "file and as a folder"),
        (("m/A/b", "m/a"), "file and as a folder"),
        (("m/" + "é" * 128,), "long"),
    ],
)
def test_names_that_no_folder_can_hold(tmp_path: Path, names: tuple[str, ...], said: str) -> None:
    path = archive_of(tmp_path / "a.zip", dict.fromkeys(names, b"1"))
    with opened_archive(path) as archive, pytest.raises(RejectedImageError, match=said):
        extract_folder(archive, "m", tmp_path / "out")
    assert [child.name for child in tmp_path.iterdir()] == ["a.zip"]


def test_limits(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.zip", {f"m/{number}": bytes(100) for number in range(10)})
    for limits, said in (
        (ArchiveLimits(max_members=9), "max_members"),
        (ArchiveLimits(max_bytes=999), "max_bytes"),
    ):
        with opened_archive(path) as archive, pytest.raises(RejectedImageError, match=said):
            extract_folder(archive, "m", tmp_path / "out", limits=limits)
    with pytest.raises(InputError, match="max_entries"):
        opened_archive(path, ArchiveLimits(max_entries=9))
    with pytest.raises(InputError, match="max_archive_bytes"):
        opened_archive(path, ArchiveLimits(max_archive_bytes=100))
    assert not (tmp_path / "out").exists()


def test_bombs(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.zip", {"m/bomb": bytes(8 * 2**20)})
    with opened_archive(path) as archive, pytest.raises(RejectedImageError, match="more than is plausible"):
        extract_folder(archive, "m", tmp_path / "out")


def test_a_size_that_lies_is_not_believed(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.zip", {"m/bomb": bytes(2**20)})
    content = path.read_bytes()
    size = struct.pack("<I", 2**20)
    assert content.count(size) == 2
    path.write_bytes(content.replace(size, struct.pack("<I", 10)))  # says that it holds ten bytes
    with opened_archive(path) as archive:
        with pytest.raises(RejectedImageError, match="cannot be unpacked"):
            extract_folder(archive, "m", tmp_path / "out")
        with pytest.raises(RejectedImageError, match="cannot be unpacked"):
            read_member(archive, "m/bomb", max_bytes=100)
    assert sorted(child.name for child in tmp_path.iterdir()) == ["a.zip"]


def test_damage_and_encryption(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.zip", {"m/a.obj": b"abcabc" * 50})
    whole = path.read_bytes()
    path.write_bytes(whole[:40] + bytes([whole[40] ^ 255]) + whole[41:])
    with opened_archive(path) as archive, pytest.raises(RejectedImageError, match="cannot be unpacked"):
        extract_folder(archive, "m", tmp_path / "out")
    path.write_bytes(whole)
    with opened_archive(path) as archive:
        archive.infolist()[0].flag_bits |= 1
        with pytest.raises(RejectedImageError, match="encrypted"):
            extract_folder(archive, "m", tmp_path / "out")
    path.write_bytes(whole[:-30])
    with pytest.raises(InputError, match="not a zip archive"):
        opened_archive(path)
    with pytest.raises(InputError, match="is not a file"):
        opened_archive(tmp_path / "gone.zip")


def test_one_member(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.zip", {"a": b"12345"})
    with opened_archive(path) as archive:
        assert read_member(archive, "a", max_bytes=5) == b"12345"
        with pytest.raises(RejectedImageError, match="more than 4 bytes"):
            read_member(archive, "a", max_bytes=4)
        with pytest.raises(RejectedImageError, match="has no 'b'"):
            read_member(archive, "b", max_bytes=4)
