import json
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.core.images import COLUMNS
from snellen.core.randomness import Randomness
from snellen.data.files.arrays import load_arrays
from snellen.data.files.joining import join
from snellen.data.references import load_images
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.data.worlds.planting.label_noise import RandomLabelNoise
from snellen.data.worlds.planting.truth import true_labels
from snellen.verbs import write_images as image_folder
from snellen.verbs.write_images import write_images

WORLD = Scenes(count=12, individuals=2, objects=(1, 2))


@pytest.fixture
def images():
    return join([WORLD.images(split="train"), WORLD.images(split="test")])


def test_what_is_written_is_read_again(images, tmp_path):
    written = write_images(images, tmp_path / "out")
    again = load_images(written.manifest)
    assert (written.images, written.masks, written.rejected) == (24, 24, {})
    assert again.ids == images.ids
    for column in set(COLUMNS) - {"id", "label", "labels", "mask"}:
        assert again.column(column) == images.column(column), column
    assert [again.class_names[i] for i in again.labels] == [images.class_names[i] for i in images.labels]
    for index in (0, 13, 23):
        assert again.read(index).tobytes() == images.read(index).tobytes()
        assert again.read_mask(index).tobytes() == images.read_mask(index).tobytes()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"images", "masks", "manifest.csv"}
    assert len(load_images(tmp_path / "out" / "images")) == 24, "class folders, as other tools read them"


def test_further_columns_are_kept(tmp_path):
    images = load_arrays(np.zeros((2, 4, 4), np.uint8), [0, 1])
    table = images.table.append_column("planted", [[json.dumps({"noise": True}), None]])
    written = write_images(replace(images, table=table), tmp_path / "out")
    assert load_images(written.manifest).column("planted") == ['{"noise": true}', None]


def test_the_truth_about_labels_survives(tmp_path):
    images = RandomLabelNoise(rate=0.5).plant(WORLD.images(split="train"), rng=Randomness(0))
    again = load_images(write_images(images, tmp_path / "out").manifest)

    def named(found):
        return [found.class_names[label] for label in true_labels(found)]

    assert named(again) == named(images)
    assert again.column("planted") == images.column("planted")


def test_a_label_free_view_is_written_without_the_truth(tmp_path):
    images = RandomLabelNoise(rate=0.5).plant(WORLD.images(split="train"), rng=Randomness(0)).unlabelled()
    again = load_images(write_images(images, tmp_path / "out").manifest)
    assert not {"label", "true_label"} & set(again.table.column_names)


def test_further_columns_may_hold_what_json_does_not_know(tmp_path):
    images = load_arrays(np.zeros((1, 4, 4), np.uint8), [0])
    table = images.table.append_column("taken", [[datetime(2024, 2, 29, 12)]])
    assert load_images(write_images(replace(images, table=table), tmp_path / "out").manifest).column("taken") == [
        '"2024-02-29 12:00:00"'
    ]


def test_an_interrupted_call_goes_on(images, tmp_path, monkeypatch):
    class Stop(Exception):  # noqa: N818
        pass

    real, count = image_folder._write, iter(range(10))

    def failing(path, read):
        if next(count, None) is None:
            raise Stop
        real(path, read)

    monkeypatch.setattr(image_folder, "_write", failing)
    with pytest.raises(Stop):
        write_images(images, tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.csv").exists()
    monkeypatch.undo()
    cut = next((tmp_path / "out" / "images").rglob("*.png"))
    cut.write_bytes(cut.read_bytes()[:40])
    write_images(images, tmp_path / "out")
    fresh = write_images(images, tmp_path / "fresh")
    for path in fresh.manifest.parent.rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "out" / path.relative_to(fresh.manifest.parent)).read_bytes()


def test_another_set_is_not_mixed_in(images, tmp_path, monkeypatch):
    monkeypatch.setattr(image_folder, "_write_manifest", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_images(images, tmp_path / "out")
    monkeypatch.undo()
    with pytest.raises(InputError, match="holds part of another image set"):
        write_images(images.select([1]), tmp_path / "out")


@pytest.mark.parametrize("there", ["file", "folder"])
def test_a_place_that_is_taken(images, tmp_path, there):
    out = tmp_path / "out"
    if there == "file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="is a file" if there == "file" else "is not empty"):
        write_images(images, out)
    assert list(tmp_path.rglob("*.png")) == []


def test_a_damaged_image_is_left_out_and_named(tmp_path):
    folder = tmp_path / "in"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        WORLD.images().read(0).save(folder / name / "1.png")
    (folder / "b" / "2.png").write_bytes(b"no picture")
    written = write_images(load_images(folder), tmp_path / "out")
    assert list(written.rejected) == ["b/2.png"]
    assert len(load_images(written.manifest)) == 2
