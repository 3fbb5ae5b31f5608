"""What macOS and Windows do otherwise, simulated: names of files, locks, files that are read, consoles, devices.

None of it was run there. ``.github/workflows/tests.yml`` runs these tests on all three.
"""

import errno
import functools
import io
import itertools
import os
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import snellen
from snellen.cli import main
from snellen.cli.standard_output import narrow_output
from snellen.core import renaming
from snellen.core.errors import InputError, RunConflictError
from snellen.models.remote import sent_log
from snellen.models.weights.devices import resolve_device
from snellen.runs import folder_lock
from snellen.runs.folder_lock import only_writer
from snellen.runs.safe_names import file_names, folder_names, relative_names
from snellen.training.acceleration import seeded
from tests.cli.conftest import run

__all__ = ["run"]

SOURCE = Path(snellen.__file__).parent

#: Names of classes of which each breaks a file system: reserved, ending in a dot, of one name but for case, very long.
HOSTILE = ["aux", "COM1.5", "nul.txt", "a:b", "T-shirt/top", "Bag", "bag", "dot.", "star*?", "été", "x" * 300, "../up"]


def unfit_for_windows(parts: list[str]) -> list[str]:
    """Names that Windows does not take, or takes for a device."""
    return [
        part
        for part in parts
        if re.search(r'[<>:"|?*\\\x00-\x1f]|[. ]$', part)
        or re.fullmatch(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?", part)
        or len(part.encode("utf-16-le")) > 2 * 255
    ]


@functools.cache
def sources() -> dict[str, str]:
    """Path → text, of the package but for reproductions, which are run on Linux."""
    paths = ((path.relative_to(SOURCE).as_posix(), path) for path in SOURCE.rglob("*.py"))
    return {name: path.read_text(encoding="utf-8") for name, path in paths if not name.startswith("reproduction/")}


def assert_portable(folder: Path) -> None:
    paths = [path.relative_to(folder) for path in folder.rglob("*")]
    assert paths
    assert unfit_for_windows([part for path in paths for part in path.parts]) == []
    lower = [path.as_posix().casefold() for path in paths]
    assert len(set(lower)) == len(lower), "two names that are one where case does not count"


# -- names of files ----------------------------------------------------------------------------------------------------


def test_the_rule_for_names_finds_what_windows_refuses():
    assert unfit_for_windows(["aux", "COM1.5", "a:b", "dot.", "x" * 300]) == ["aux", "COM1.5", "a:b", "dot.", "x" * 300]
    assert unfit_for_windows(["auxiliary.png", "a b", "été.json", ".lock"]) == []


def test_names_made_of_hostile_text_fit_every_file_system():
    ids = [f"{name}/{number}.png" for number, name in enumerate(HOSTILE)]
    made = [*folder_names(HOSTILE).values(), *file_names(ids, ".png"), *relative_names(ids, ".png")]
    assert unfit_for_windows([part for name in made for part in PureWindowsPath(name).parts]) == []
    for names in (list(folder_names(HOSTILE).values()), file_names(ids, ".png"), relative_names(ids, ".png")):
        assert len({name.casefold() for name in names}) == len(names)


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    """A table of images whose classes have hostile names, with the line ends of Windows and a mark of byte order."""
    folder = tmp_path_factory.mktemp("shop")
    rng = np.random.default_rng(0)
    names = [name for name in HOSTILE if "/" not in name]
    rows = []
    for number, name in enumerate(itertools.islice(itertools.cycle(names), 12)):
        Image.fromarray(rng.integers(0, 255, (28, 28), dtype=np.uint8)).save(folder / f"{number}.png")
        rows.append(f'{number}.png,"{name}"')
    (folder / "table.csv").write_bytes(("\ufeffpath,label\r\n" + "\r\n".join(rows) + "\r\n").encode())
    return folder


def test_a_table_with_the_line_ends_of_windows_is_read(shop):
    images = snellen.load_images(str(shop / "table.csv"))
    assert len(images) == 12
    assert set(images.class_names) == {name for name in HOSTILE if "/" not in name}


@pytest.mark.parametrize(
    "arguments",
    [
        ["audit", "bundled:fashion-cnn", "bundled:fashion-mnist", "--limit", "30", "--checks", "clean,calibration"],
        ["attack", "pgd", "bundled:fashion-cnn", "bundled:fashion-mnist", "--limit", "6", "--steps", "2"],
        ["shift", "corruption", "SHOP/table.csv", "--kind", "fog", "--severity", "1"],
        ["optotypes", "write", "scenes", "--count", "4", "--size", "32"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_a_command_writes_fits_every_file_system(run, shop, tmp_path, arguments):
    code, _, err = run(*[one.replace("SHOP", str(shop)) for one in arguments], "--out", str(tmp_path / "out"))
    assert code == 0, err
    assert_portable(tmp_path / "out")


# -- paths of Windows in references ------------------------------------------------------------------------------------


def test_a_drive_is_no_kind_of_model():
    with pytest.raises(InputError, match="is not a model reference"):
        snellen.load_classifier("C:\\models\\absent.onnx")
    with pytest.raises(InputError, match=r"C:\\models\\a\.onnx"):
        snellen.load_classifier("onnx:C:\\models\\a.onnx")


# -- files that another process has open -------------------------------------------------------------------------------


@pytest.mark.parametrize("refusals", [0, 2, 99])
def test_windows_replaces_a_file_once_its_reader_is_done(tmp_path, monkeypatch, refusals):
    (tmp_path / "new").write_bytes(b"new")
    (tmp_path / "old").write_bytes(b"old")
    tries = itertools.count()

    def replace(source, target):
        if next(tries) < refusals:
            raise PermissionError(errno.EACCES, "in use by another process")
        os.replace(source, target)

    slept: list[float] = []
    monkeypatch.setattr(renaming, "os", types.SimpleNamespace(name="nt", replace=replace))
    monkeypatch.setattr(renaming, "time", types.SimpleNamespace(sleep=slept.append))
    if refusals > 9:
        with pytest.raises(PermissionError):
            renaming.rename_over(tmp_path / "new", tmp_path / "old")
        assert 0.5 < sum(slept) < 3
    else:
        renaming.rename_over(tmp_path / "new", tmp_path / "old")
        assert len(slept) == refusals
    assert (tmp_path / "old").read_bytes() == (b"old" if refusals > 9 else b"new")


def test_elsewhere_a_refusal_is_an_error_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(renaming, "time", types.SimpleNamespace(sleep=lambda _: pytest.fail("waits")))
    with pytest.raises(FileNotFoundError):
        renaming.rename_over(tmp_path / "absent", tmp_path / "old")


#: A file or folder gets another name, by ``os`` or by a path; ``replace`` of text has two arguments.
RENAMES = re.compile(
    r"\bos\.(?:replace|renames?)\(|\.rename\(|\.replace\([^,()=]*(?:\([^()]*\)[^,()=]*)*\)|\bshutil\.move\("
)

#: Folders, which are renamed as they are, and files that get a name that is free.
RENAMED_OTHERWISE = {
    "core/renaming.py",
    "core/run.py",
    "data/worlds/meshes/contained_archive.py",
    "systems/continuous_nuisance/slider_folder.py",
    "systems/distributional_control/fitted_folder.py",
    "systems/perturbation_estimation/pair_files.py",
    "systems/plug_and_play_guidance/expert_fitting.py",
    "systems/text_image_to_video/trained_folder.py",
}


def test_every_file_that_is_replaced_is_replaced_the_patient_way():
    """Whoever meets a new place decides which it is, and adds it above."""
    assert {name for name, text in sources().items() if RENAMES.search(text)} == RENAMED_OTHERWISE


@pytest.mark.parametrize(
    ("call", "renames"),
    [
        ("os.replace(a, b)", True),
        ("part.replace(path)", True),
        ("part.replace(path.with_suffix('.png'))", True),
        ("(folder / 'a').rename(b)", True),
        ("shutil.move(a, b)", True),
        ("text.replace('a', 'b')", False),
        ("one.replace(kind=2)", False),
        ("replace(one, kind=2)", False),
    ],
)
def test_the_rule_for_renaming_knows_a_path_from_a_text(call, renames):
    assert bool(RENAMES.search(call)) == renames


# -- locks -------------------------------------------------------------------------------------------------------------


class Msvcrt:
    """Locks of Windows: each byte of a file has one owner, an open file; others are refused."""

    LK_NBLCK, LK_UNLCK = 2, 0

    def __init__(self) -> None:
        self.held: dict[tuple[int, int], int] = {}

    def locking(self, descriptor: int, mode: int, count: int) -> None:
        first, inode = os.lseek(descriptor, 0, os.SEEK_CUR), os.fstat(descriptor).st_ino
        wanted = [(inode, byte) for byte in range(first, first + count)]
        if mode == self.LK_UNLCK:
            for one in wanted:
                assert self.held.pop(one) == descriptor
        elif any(one in self.held for one in wanted):
            raise OSError(errno.EACCES, "locked")
        else:
            self.held |= dict.fromkeys(wanted, descriptor)


@pytest.fixture
def windows_locks(tmp_path, monkeypatch) -> Msvcrt:
    locks, places = Msvcrt(), tmp_path / "temporary"
    places.mkdir()
    monkeypatch.setattr(folder_lock, "fcntl", None)
    monkeypatch.setattr(folder_lock, "_MSVCRT", locks)
    monkeypatch.setattr(folder_lock.tempfile, "gettempdir", lambda: str(places))
    unlink = Path.unlink

    def unlink_closed(path: Path, missing_ok: bool = False) -> None:
        # Windows deletes no file that is open.
        if path.suffix == ".lock" and path.stat().st_ino in {inode for inode, _ in locks.held}:
            raise PermissionError(errno.EACCES, "in use")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink_closed)
    return locks


def test_without_fcntl_a_second_writer_is_refused_and_nothing_is_left(tmp_path, windows_locks):
    folder = tmp_path / "out"
    with only_writer(folder):
        for shared in (False, True):
            with pytest.raises(RunConflictError, match="another call is writing"), only_writer(folder, shared=shared):
                pytest.fail("two calls write into one folder")
        with only_writer(tmp_path / "other"):
            pass
    assert windows_locks.held == {}
    with only_writer(folder):
        pass
    assert [*folder.iterdir(), *(tmp_path / "temporary").iterdir()] == []


def test_without_fcntl_those_who_share_go_together_and_keep_a_writer_out(tmp_path, windows_locks):
    folder = tmp_path / "out"
    with (
        only_writer(folder, shared=True),
        only_writer(folder, shared=True),
        pytest.raises(RunConflictError),
        only_writer(folder),
    ):
        pytest.fail("writes beside others")
    assert windows_locks.held == {}


def test_without_fcntl_an_error_inside_frees_the_folder(tmp_path, windows_locks):
    with pytest.raises(ZeroDivisionError), only_writer(tmp_path / "out"):
        raise ZeroDivisionError
    assert windows_locks.held == {}


def test_without_fcntl_a_file_system_without_locks_is_written_to_without_one(tmp_path, windows_locks, monkeypatch):
    def no_locks(*_: object) -> None:
        raise OSError(errno.EINVAL, "not supported")

    monkeypatch.setattr(windows_locks, "locking", no_locks)
    with only_writer(tmp_path / "out"):
        (tmp_path / "out" / "a").touch()
    monkeypatch.setattr(folder_lock.tempfile, "gettempdir", lambda: str(tmp_path / "absent"))
    with only_writer(tmp_path / "out"):
        (tmp_path / "out" / "b").touch()


#: The locks of ``msvcrt``, by those of Linux that have the same owner: an open file, whose end is the end of the lock.
OPEN_FILE_LOCKS = """
import errno, fcntl, os, struct, sys, time
from pathlib import Path
class Locks:
    LK_NBLCK, LK_UNLCK = fcntl.F_WRLCK, fcntl.F_UNLCK
    @staticmethod
    def locking(descriptor, mode, count):
        lock = struct.pack("hhqqi4x", mode, os.SEEK_CUR, 0, count, 0)
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, lock)
        except BlockingIOError as error:
            raise PermissionError(errno.EACCES, "locked") from error
from snellen.runs import folder_lock
folder_lock.fcntl, folder_lock._MSVCRT = None, Locks
"""


@pytest.mark.skipif(sys.platform != "linux", reason="locks of an open file are those of Linux")
def test_without_fcntl_another_process_keeps_a_writer_out_until_it_is_killed(tmp_path, monkeypatch):
    holds = "with folder_lock.only_writer(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    folder, places = tmp_path / "out", tmp_path / "temporary"
    places.mkdir()
    known: dict[str, Any] = {}
    monkeypatch.setattr(folder_lock, "fcntl", None)
    monkeypatch.setattr(folder_lock, "_MSVCRT", None)
    exec(OPEN_FILE_LOCKS, known)
    monkeypatch.setattr(folder_lock.tempfile, "gettempdir", lambda: str(places))
    with subprocess.Popen(
        [sys.executable, "-c", OPEN_FILE_LOCKS + holds, str(folder)],
        env={**os.environ, "TMPDIR": str(places)}, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            # Linux would delete the file that the other has open.
            monkeypatch.setattr(Path, "unlink", lambda path: None)
            with pytest.raises(RunConflictError, match="another call is writing"), only_writer(folder):
                pytest.fail("two processes write into one folder")
        finally:
            other.kill()
    assert len(list(places.iterdir())) == 1, "what the killed call left"
    with only_writer(folder):
        pass


# -- what Windows lacks ------------------------------------------------------------------------------------------------


def test_requests_are_recorded_without_flags_that_windows_lacks(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "O_CLOEXEC")
    sent_log.append(tmp_path, ['{"a": 1}\n', '{"b": 2}\n'])
    assert (tmp_path / sent_log.SENT).read_bytes() == b'{"a": 1}\n{"b": 2}\n'


#: Names of os and modules that Windows does not have. Each use needs another way, or a word why none is needed there.
ABSENT = re.compile(
    r"\bos\.(?:O_CLOEXEC|O_NOFOLLOW|O_DIRECTORY|fork|getuid|geteuid|killpg|mkfifo|statvfs|uname|chown)\b"
    r"|^(?:import|from) (?:fcntl|resource|pwd|grp|termios|tty|pty|multiprocessing)\b",
    re.MULTILINE,
)


def test_nothing_is_used_that_windows_lacks_and_no_process_is_forked():
    """Worker processes are started anew (``python -m``), so that starting by ``spawn`` is all that is needed."""
    found = {f"{name}: {hit[0].strip()}" for name, text in sources().items() for hit in ABSENT.finditer(text)}
    assert found == set()


def test_text_is_never_read_or_written_in_the_encoding_of_the_system():
    """cp1252 on Windows: each call names its encoding."""
    call = re.compile(r"\.(?:read_text\(\)|write_text\((?:(?!encoding).)*\)$)|subprocess.*\btext=True")
    found = [
        f"{name}:{number}"
        for name, text in sources().items()
        if name != "runs/engines/machine.py"  # reads /proc, which is ASCII
        for number, line in enumerate(text.splitlines(), 1)
        if call.search(line)
    ]
    assert found == []


# -- consoles ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "shown"), [("cp1252", "a -> b, >= 2 – é \\u732b"), ("utf-8", "a → b, ≥ 2 – é 猫")]
)
def test_a_file_in_another_encoding_gets_plain_signs_and_no_error(monkeypatch, encoding, shown):
    stream = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(stream, encoding=encoding, newline=""))
    narrow_output()
    print("a → b, ≥ 2 – é 猫", end="", flush=True)
    assert stream.getvalue().decode(encoding) == shown


def test_a_comparison_is_printed_in_the_encoding_of_windows(run, tmp_path, monkeypatch):
    audit = ["audit", "bundled:fashion-cnn", "bundled:fashion-mnist", "--limit", "20", "--checks", "clean", "--json"]
    assert run(*audit, "--out", str(tmp_path / "a"))[0] == 0
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    stream = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(stream, encoding="cp1252"))
    monkeypatch.setattr(sys, "argv", ["snellen", "compare", "a", "b"])
    with pytest.raises(SystemExit) as stopped:
        main()
    sys.stdout.flush()
    assert stopped.value.code == 0
    assert "->" in stream.getvalue().decode("cp1252")


# -- Metal -------------------------------------------------------------------------------------------------------------


def test_metal_is_chosen_where_it_is_there_and_named_where_it_is_not(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device("mps") == torch.device("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(InputError, match="no Metal device"):
        resolve_device("mps")


def test_the_generator_of_metal_is_put_back(monkeypatch):
    state = [torch.tensor([7])]
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: state[-1])
    monkeypatch.setattr(torch.mps, "set_rng_state", state.append)
    with seeded(3, torch.device("mps")):
        state.append(torch.tensor([3]))
    assert [one.item() for one in state] == [7, 3, 7]
