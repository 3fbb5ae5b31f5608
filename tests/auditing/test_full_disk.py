"""A disk that is full or may not be written: one clear message, nothing half written counts, the same call goes on."""

import errno
import os
import shutil
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from snellen.auditing.audit import audit
from snellen.core.errors import InputError, UnwritableError
from snellen.core.unwritable import unwritable

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def content(folder):
    """Every file of a run by name, but for the clock readings."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "timing.json"
    }


@pytest.fixture
def small(problem, monkeypatch):
    """Classifier and images of two shards."""
    monkeypatch.setattr("snellen.core.run_plan.code_hash", lambda: "the code, which is not hashed a hundred times")
    classifier, images, _ = problem
    return classifier, images.limit(10)


def run(small, folder):
    return audit(*small, out=folder, checks=["clean"], batch_size=1)


class Disk:
    """A disk that takes so many writes and no more; a write is whatever needs room or a name."""

    def __init__(self, monkeypatch, folder):
        self.left, self.folder, self.error = None, str(folder), FULL
        monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # counted, not done: it takes a hundred times as long
        for place, name in ((os, "fsync"), (os, "replace"), (os, "link"), (os, "mkdir"), (pq, "write_table")):
            self._count(monkeypatch, place, name)
        self._open(monkeypatch)

    def write(self):
        if self.left is not None:
            if self.left == 0:
                raise OSError(self.error.errno, self.error.strerror, self.error.filename)
            self.left -= 1

    def _count(self, monkeypatch, place, name):
        real = getattr(place, name)

        def counted(*arguments, **options):
            self.write()
            return real(*arguments, **options)

        monkeypatch.setattr(place, name, counted)

    def _open(self, monkeypatch):
        real = Path.open

        def opened(path, mode="r", *arguments, **options):
            if "r" not in mode and str(path).startswith(self.folder):
                self.write()
            return real(path, mode, *arguments, **options)

        monkeypatch.setattr(Path, "open", opened)


def test_whichever_write_fails_it_is_reported_and_the_same_call_goes_on_to_the_same_bytes(small, tmp_path, monkeypatch):
    run(small, tmp_path / "whole")
    whole = content(tmp_path / "whole")
    disk, told = Disk(monkeypatch, tmp_path), list[str]()
    # Each round ends one write later than the last, in a folder of its own, until one ends well.
    for writes in range(1_000):
        folder = tmp_path / f"run-{writes}"
        disk.left = writes
        try:
            run(small, folder)
        except UnwritableError as error:
            told.append(str(error))
        else:
            break
        disk.left = None
        for words in ("No space left on device", str(folder), "MB are free", "give the same call again"):
            assert words in told[-1]
        assert ("What was finished before stays valid" in told[-1]) == folder.exists()
        shards = {path.name for path in folder.glob("shards/[0-9]*")}
        begun = {path for path in folder.glob("shards/*/*") if path.parent.name in shards}
        before = {path: path.stat().st_ino for path in begun}
        for name, bytes_ in content(folder).items():
            assert whole.get(name) == bytes_, f"{name} is half written after {writes} writes"
        run(small, folder)
        assert content(folder) == whole, writes
        assert {path: path.stat().st_ino for path in begun} == before, "a finished shard is not done again"
        shutil.rmtree(folder)
    assert len(told) == writes > 30
    assert content(folder) == whole


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_other_refusals_are_reported_in_their_own_words(small, tmp_path, monkeypatch, number):
    disk = Disk(monkeypatch, tmp_path)
    disk.error, disk.left = OSError(number, os.strerror(number), str(tmp_path / "run" / "x")), 20
    with pytest.raises(UnwritableError, match=os.strerror(number)) as told:
        run(small, tmp_path / "run")
    assert ("make room" in str(told.value)) == (number == errno.EDQUOT)
    assert ("allow writing" in str(told.value)) == (number != errno.EDQUOT)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("run/.report.json.0123456789ab", "run/report.json"),
        ("run/.manifest.csv.partial", "run/manifest.csv"),
        (".names.json.0123456789ab", "names.json"),
        ("run/.hidden.png", "run/.hidden.png"),
    ],
)
def test_a_file_is_reported_by_the_name_that_it_would_have_had(name, told):
    error = unwritable(OSError(errno.EACCES, os.strerror(errno.EACCES), name), Path("run"))
    assert str(error).startswith(f"cannot write to {told}: Permission denied. ")


def test_an_error_of_another_kind_passes_as_it_is(small, tmp_path, monkeypatch):
    disk = Disk(monkeypatch, tmp_path)
    disk.error, disk.left = OSError(errno.EIO, "the disk fails"), 20
    with pytest.raises(OSError, match="the disk fails") as told:
        run(small, tmp_path / "run")
    assert not isinstance(told.value, InputError)


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 200 kB; skipped where nobody may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_real_disk_that_is_full_and_has_room_again(small, tiny_disk, tmp_path):
    run(small, tiny_disk / "whole")
    whole, free = content(tiny_disk / "whole"), shutil.disk_usage(tiny_disk).free
    shutil.rmtree(tiny_disk / "whole")
    needed = shutil.disk_usage(tiny_disk).free - free
    for share in (0.0, 0.2, 0.5, 0.8, 0.95):
        left = int(needed * share) // 4096 * 4096
        (tiny_disk / "ballast").write_bytes(bytes(shutil.disk_usage(tiny_disk).free - left))
        with pytest.raises(UnwritableError, match="No space left on device"):
            run(small, tiny_disk / "run")
        (tiny_disk / "ballast").unlink()
        run(small, tiny_disk / "run")
        assert content(tiny_disk / "run") == whole
        shutil.rmtree(tiny_disk / "run")


def test_a_disk_that_became_read_only(small, tiny_disk):
    def remount(how):
        subprocess.run(["mount", "-o", f"remount,{how}", str(tiny_disk)], check=True)

    run(small, tiny_disk / "run")
    (tiny_disk / "run" / "report.json").unlink()
    remount("ro")
    try:
        for out in ("run", "new"):
            with pytest.raises(UnwritableError, match=r"Read-only file system.*[Aa]llow writing there"):
                run(small, tiny_disk / out)
    finally:
        remount("rw")
    assert run(small, tiny_disk / "run").metrics
    assert not (tiny_disk / "new").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(small, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(UnwritableError, match="Permission denied"):
        run(small, tmp_path / "closed" / "run")


def test_what_a_killed_audit_was_writing_is_taken_away(small, tmp_path):
    run(small, tmp_path / "run")
    whole = content(tmp_path / "run")
    for name in (".manifest.json.7a1d3c9093c0", "evidence/.clean.parquet.0123456789ab"):
        (tmp_path / "run" / name).write_bytes(b"half")
    run(small, tmp_path / "run")
    assert content(tmp_path / "run") == whole
