"""Interrupted, started again, damaged, or another plan: nothing is lost, nothing is mixed."""

import numpy as np
import pytest

import snellen
from snellen.core.errors import InputError, RunConflictError
from snellen.data.files.arrays import load_arrays
from snellen.verbs import shift as shifted_images
from snellen.verbs.shift import shift
from tests.verbs.small_shifts import Fade, Grain
from tests.verbs.stopping import Stopping, contents

FORMATS = ["folder", "medmnist-c"]
METHODS = [Grain(), Fade()]


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch):
    monkeypatch.setattr(shifted_images, "IMAGES_PER_SHARD", 3)


@pytest.fixture
def images():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 6, 6, 3), dtype=np.uint8)
    return load_arrays(pixels, np.arange(8) % 2)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("after", [1, 3, 7, 9, 16])
def test_an_interrupted_call_goes_on_and_gives_the_same_bytes(images, tmp_path, format, after):
    options = {"severities": (1, 4), "format": format, "batch_size": 2, "contact_sheet": False}
    shift(images, METHODS, out=tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        shift(images, METHODS, out=tmp_path / "out", progress=Stopping(after, "shifting"), **options)
    held = {path.name for path in (tmp_path / "out").iterdir()}
    assert "unfinished" in held
    assert not held & {"shift.json", "manifest.csv", "fade.npz", "colour.npz"}, "nothing claims to be complete"
    listener = Stopping(10**9, "shifting")
    shift(images, METHODS, out=tmp_path / "out", progress=listener, **{**options, "batch_size": 3})
    done = listener.notes.count("already done")
    assert done == sum(after > end for end in (3, 6, 8, 11, 14, 16)), "whole shards are not done again"
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize("format", FORMATS)
def test_a_damaged_part_is_done_again(images, tmp_path, format):
    options = {"severities": (1, 4), "format": format}
    shift(images, METHODS, out=tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        shift(images, METHODS, out=tmp_path / "out", progress=Stopping(16, "shifting"), **options)
    if format == "folder":
        next((tmp_path / "out" / "colour" / "4").rglob("*.png")).write_bytes(b"cut off")
        next((tmp_path / "out" / "fade" / "1").rglob("*.png")).unlink()
    else:
        part = tmp_path / "out" / "unfinished" / "pixels" / "colour-000000003.pixels"
        part.write_bytes(part.read_bytes()[:70])
    shift(images, METHODS, out=tmp_path / "out", **options)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_finished_call_writes_nothing_and_returns_the_record(images, tmp_path):
    first = shift(images, METHODS, out=tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    again = shift(images, METHODS, out=str(tmp_path / "out"), batch_size=1, workers=1)
    assert again == first
    assert again.manifest == tmp_path / "out" / "manifest.csv"
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before
    assert "ShiftedSet(80 images in" in repr(first)


def test_killed_after_the_record_before_the_tidying(images, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(shifted_images.shutil, "rmtree", lambda *_args, **_kw: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            shift(images, Fade(), out=tmp_path / "out")
    assert (tmp_path / "out" / "unfinished").is_dir()
    shift(images, Fade(), out=tmp_path / "out")
    assert not (tmp_path / "out" / "unfinished").exists()


@pytest.mark.parametrize("finished", [True, False])
def test_another_plan_is_refused(images, tmp_path, finished):
    if finished:
        shift(images, Fade(), out=tmp_path / "out")
    else:
        with pytest.raises(KeyboardInterrupt):
            shift(images, Fade(), out=tmp_path / "out", progress=Stopping(1, "shifting"))
    before = contents(tmp_path / "out")
    for method, options, what in (
        (Fade(amount=0.5), {}, "settings"),
        (Fade(), {"seed": 1}, "seed"),
        (Fade(), {"severities": (1,)}, "severities"),
        (Fade(), {"format": "medmnist-c"}, "format"),
        (Fade(), {"limit": 4}, "data"),
    ):
        with pytest.raises(RunConflictError, match=f"differs in: {what}"):
            shift(images, method, out=tmp_path / "out", **options)
    with pytest.raises(RunConflictError, match="differs in: settings"):
        shift(images, [Fade(), Grain()], out=tmp_path / "out")
    assert contents(tmp_path / "out") == before


def test_the_order_of_methods_is_part_of_the_plan(images, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        shift(images, METHODS, out=tmp_path / "out", progress=Stopping(4, "shifting"))
    with pytest.raises(RunConflictError, match="settings"):
        shift(images, METHODS[::-1], out=tmp_path / "out")


def test_a_folder_with_something_else_is_refused(images, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty and holds no shifted data set"):
        shift(images, Fade(), out=tmp_path / "out")
    with pytest.raises(InputError, match="is a file"):
        shift(images, Fade(), out=tmp_path / "out" / "thesis.txt")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "shift.json").write_text("{}")
    with pytest.raises(InputError, match="no record of a shifted data set"):
        shift(images, Fade(), out=tmp_path / "other")
    (tmp_path / "empty").mkdir()
    assert shift(images, Fade(), out=tmp_path / "empty").written == {"fade": 8}


def test_equal_calls_give_equal_bytes(images, tmp_path):
    for name in ("one", "two"):
        shift(images, METHODS, out=tmp_path / name, format="medmnist-c")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert snellen.load_images(tmp_path / "one" / "fade.npz").labels.tolist() == [0, 1] * 20
