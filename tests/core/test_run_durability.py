"""What a run has written outlives a power cut, or is told from what did not."""

import errno
import os
import stat
from contextlib import nullcontext

import pytest

from snellen.core.evidence import Evidence
from snellen.core.run import Run, write_atomically


def write(run):
    """Shard 0, of two checks."""
    evidence = {name: Evidence.of(["a"], setting=name, model="m") for name in ("clean", "corruption")}
    run.write_shard(0, evidence, {"rejected": []})


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["clean.parquet", "extra.json", "timing.json"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "other", "a folder"])
def test_a_damaged_shard_is_not_done_and_is_written_again(tmp_path, name, damage):
    run = Run.open(tmp_path / "r", {"seed": 0})
    write(run)
    whole, path = files(run.folder), run.folder / "shards" / "000000" / name
    content = path.read_bytes()
    path.unlink()
    if damage == "a folder":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes({"empty": b"", "cut": content[:-2], "other": b"\0" * len(content)}[damage])
    assert not run.done(0)
    write(run)
    assert run.done(0)
    assert files(run.folder) == whole


def test_a_shard_is_on_the_disk_before_it_counts(tmp_path, monkeypatch):
    """Every file, the folder that holds them, and after the renaming the folder that holds the new name."""
    run = Run.open(tmp_path / "r", {"seed": 0})
    flushed: list[tuple[str, bool]] = []
    final, real = run.folder / "shards" / "000000", os.fsync

    def record(descriptor):
        flushed.append((os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")), final.exists()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    write(run)
    assert {name for name, there in flushed if not there} >= {"clean.parquet", "extra.json", "shard", "r"}
    assert flushed[-2:] == [("shard", False), ("shards", True)]


def test_the_name_of_a_file_is_on_the_disk_with_its_bytes_and_so_are_new_folders(tmp_path, monkeypatch):
    flushed: list[str] = []
    path, real = tmp_path / "deep" / "er" / "file.bin", os.fsync

    def record(descriptor):
        flushed.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    write_atomically(path, b"whole")
    assert set(flushed[:2]) == {tmp_path.name, "deep"}
    assert flushed[2].startswith(".file.bin.")
    assert flushed[3:] == ["er"]


@pytest.mark.parametrize(("number", "raises"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_file_system_that_flushes_no_folders_is_borne_and_a_failing_disk_is_not(
    tmp_path, monkeypatch, number, raises
):
    real = os.fsync

    def folders_fail(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", folders_fail)
    with pytest.raises(OSError, match="error") if raises else nullcontext():
        write_atomically(tmp_path / "file.bin", b"whole")
    assert (tmp_path / "file.bin").read_bytes() == b"whole"
