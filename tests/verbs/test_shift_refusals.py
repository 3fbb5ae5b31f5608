"""What cannot be used: images, arguments, methods."""

import json
import shutil

import numpy as np
import pytest

import snellen
from snellen.core.errors import InputError, RunConflictError
from snellen.core.run import Run
from snellen.runs.folder_writer import FolderPart
from snellen.verbs.shift import shift
from tests.verbs.picture_sets import in_memory, pixels_by_source, rows_of, save
from tests.verbs.small_shifts import Cropping, Fade, Failing


def test_bad_images_are_rejected_by_name_and_counted_nowhere(photos, tmp_path):
    (photos / "cat" / "broken.png").write_bytes(b"no image")
    save(photos / "dog" / "white.png", np.full((12, 12, 3), 255, dtype=np.uint8))
    save(photos / "dog" / "black.png", np.zeros((12, 12, 3), dtype=np.uint8))
    images = snellen.load_images(photos)
    written = shift(images, [Fade(), Failing()], severities=(1, 2), out=tmp_path / "out", allow_rejected=True)
    assert written.written == {"fade": 10, "failing": 8}
    told = {(one.id, one.setting): one.reason for one in written.rejected}
    assert told.keys() == {("cat/broken.png", None), ("dog/white.png", "failing"), ("dog/black.png", "failing")}
    assert "not a readable image" in told["cat/broken.png", None]
    assert "not finite" in told["dog/white.png", "failing"]
    assert told["dog/black.png", "failing"] == "too dark to fade"
    found = pixels_by_source(written.folder)
    assert len(found) == 2 * 18
    assert not [key for key in found if "broken" in key[2] or (key[0] == "failing" and "white" in key[2])]
    assert len(list((tmp_path / "out").rglob("*/*/*/*.png"))) == 36
    shift(images, [Fade(), Failing()], severities=(1, 2), out=tmp_path / "single", batch_size=1, allow_rejected=True)
    for name in ("manifest.csv", "shift.json"):
        assert (tmp_path / "single" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
    record = json.loads((tmp_path / "out" / "shift.json").read_text())
    assert record["written"] == written.written
    assert [one["id"] for one in record["rejected"]] == [one.id for one in written.rejected]


def test_nothing_usable_is_an_error_and_leaves_the_folder_free(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"no image")
    images = snellen.load_images(tmp_path / "photos")
    with pytest.raises(InputError, match=r"none of the 1 images .* first: a\.png: not a readable image"):
        shift(images, Fade(), out=tmp_path / "out")
    save(tmp_path / "photos" / "a.png", np.zeros((4, 4, 3), dtype=np.uint8))
    assert shift(snellen.load_images(tmp_path / "photos"), Fade(), out=tmp_path / "out").written == {"fade": 1}


def fail_after(write, times):
    left = iter(range(times))

    def failing(*arguments):
        if next(left, None) is None:
            raise OSError("no space")
        return write(*arguments)

    return failing


def test_a_failure_that_finished_nothing_leaves_the_folder_to_another_plan(tmp_path, monkeypatch):
    images, out = in_memory({"id": ["a", "b"]}), tmp_path / "out"
    with pytest.raises(InputError, match="a shift keeps shape and range"):
        shift(images, Cropping(), out=out)
    assert not out.exists()
    # Nor does one that wrote some images: they would be written again. What was there before stays.
    with pytest.raises(InputError, match="a shift keeps shape and range"):
        shift(images, [Fade(), Cropping()], out=out / "deeper")
    assert (out / "deeper" / "fade").is_dir(), "a finished setting is kept, to go on with"
    monkeypatch.setattr(FolderPart, "add", fail_after(FolderPart.add, 3))
    with pytest.raises(OSError, match="no space"):
        shift(images, Fade(), out=tmp_path / "full")
    assert not (tmp_path / "full").exists()
    monkeypatch.undo()
    shutil.rmtree(out)
    # A call that was killed before its first image leaves its record behind.
    Run.open(out / "unfinished", {"kind": "another"})
    assert shift(images, Fade(), out=out).written == {"fade": 2}
    assert not (out / "unfinished").exists()
    # What was begun is gone on with, and refused to another plan.
    (tmp_path / "begun" / "fade").mkdir(parents=True)
    Run.open(tmp_path / "begun" / "unfinished", {"kind": "another"})
    with pytest.raises(RunConflictError, match="holds another run"):
        shift(images, Fade(), out=tmp_path / "begun")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"severities": ()}, "no severities"),
        ({"severities": (1, 6)}, r"a severity lies in \[0, 5\], got 6"),
        ({"severities": (float("nan"),)}, "got nan"),
        ({"severities": (1, 2, 1.0)}, "severity 1 is given twice"),
        ({"method": []}, "no method to shift by"),
        ({"method": [Fade(), Fade()]}, "^fade is given twice"),
        ({"method": "fade"}, "unknown shift 'fade'"),
        ({"method": [7]}, "a shift is a method such as"),
        ({"method": Cropping()}, r"Cropping\(\) made torch.float32 \(2, 3, 3, 6\) of images \(2, 3, 4, 6\)"),
        ({"format": "tar"}, "unknown format 'tar'; known: folder, medmnist-c"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"workers": -1}, "workers at least 0"),
        ({"limit": 0}, "a limit must be at least 1"),
    ],
)
def test_wrong_arguments(tmp_path, options, message):
    images = in_memory({"id": ["a", "b"]})
    with pytest.raises(InputError, match=message):
        shift(images, options.pop("method", Fade()), out=tmp_path / "out", **options)


def test_a_method_of_another_verb_and_unmet_needs(tmp_path):
    from snellen.methods.attacks.fgsm import FGSM

    class Masked(Fade):
        name = "masked"
        needs = frozenset({"masks"})

    images = in_memory({"id": ["a"]})
    with pytest.raises(InputError, match="has no verb 'shift'"):
        shift(images, FGSM(), out=tmp_path / "out")
    with pytest.raises(InputError, match="masked needs masks"):
        shift(images, Masked(), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_limit_draws_the_same_images_as_an_audit(tmp_path):
    images = in_memory({"id": [str(number) for number in range(20)]})
    written = shift(images, Fade(), severities=(1,), out=tmp_path / "out", limit=5, seed=2)
    assert [row["source_id"] for row in rows_of(written)] == images.limit(5, 2).ids
