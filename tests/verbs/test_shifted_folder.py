"""Shifted images as a folder of PNG files: pixels, names, manifest, rejected images."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch

import snellen
from snellen.core.preprocessing import Preprocessing, to_unit
from snellen.core.randomness import Randomness
from snellen.methods.corruptions.corruption import Corruption
from snellen.verbs.shift import shift
from tests.verbs.picture_sets import in_memory, pixels_by_source, rows_of
from tests.verbs.small_shifts import Fade, Grain, Told


def same(first, second):
    return first.keys() == second.keys() and all(
        first[key][0] == second[key][0] and np.array_equal(first[key][1], second[key][1]) for key in first
    )


def test_pixels_are_those_of_the_method_at_the_images_own_size(photos, tmp_path):
    images = snellen.load_images(photos)
    written = shift(images, Grain(), severities=(0, 1, 2.5), out=tmp_path / "out", seed=3)
    found = pixels_by_source(written.folder)
    assert len(found) == 3 * 8
    for index, example_id in enumerate(images.ids):
        clean = Preprocessing().pixels(images.read(index))[None]
        for severity in (0.0, 1.0, 2.5):
            wanted = Grain().shift(to_unit(clean), severity, rng=Randomness(3).for_examples([example_id]))
            wanted = (wanted[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
            mode, pixels = found["colour", severity, example_id]
            assert np.array_equal(np.broadcast_to(pixels[..., None] if mode == "L" else pixels, wanted.shape), wanted)
    assert pixels_by_source(written.folder)["colour", 0.0, "dog/wide.png"][1].shape == (5, 17, 3)


def test_grey_results_are_grey_files(photos, tmp_path):
    images = snellen.load_images(photos)
    shift(images, Grain(kind="grey"), severities=(0, 1), out=tmp_path / "grey")
    shift(images, Grain(kind="colour"), severities=(0, 1), out=tmp_path / "colour")
    for place in ("grey", "colour"):
        for (_, severity, source), (mode, _) in pixels_by_source(tmp_path / place).items():
            stays = source in ("cat/grey.png", "cat/sixteen.png") and (severity == 0 or place == "grey")
            assert mode == ("L" if stays else "RGB"), (place, severity, source)


@pytest.mark.parametrize("method", [Grain(), Corruption(kind="fog"), Corruption(kind="defocus_blur")], ids=repr)
def test_batch_order_threads_and_the_rest_of_the_set_change_no_pixel(photos, tmp_path, method):
    images = snellen.load_images(photos)
    images = images.select([i for i, key in enumerate(images.ids) if "one" not in key])
    shift(images, method, severities=(1, 4), out=tmp_path / "whole")
    whole = pixels_by_source(tmp_path / "whole")
    shift(images, method, severities=(1, 4), out=tmp_path / "single", batch_size=1)
    assert same(pixels_by_source(tmp_path / "single"), whole)
    for name in ("manifest.csv", "shift.json"):
        assert (tmp_path / "single" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    backwards = images.select(range(len(images))[::-1])
    shift(backwards, method, severities=(4, 1), out=tmp_path / "backwards", batch_size=3, workers=2)
    assert same(pixels_by_source(tmp_path / "backwards"), whole)
    shift(images.select([2, 5]), method, severities=(4,), out=tmp_path / "few")
    few = pixels_by_source(tmp_path / "few")
    assert same(few, {key: whole[key] for key in few})
    assert len(few) == 2
    shift(images, method, severities=(1, 4), out=tmp_path / "seed", seed=1)
    random = not isinstance(method, Corruption) or method.kind != "defocus_blur"
    assert same(pixels_by_source(tmp_path / "seed"), whole) != random


def test_a_pass_is_bounded_by_pixels(photos, tmp_path, monkeypatch):
    sizes = []

    class Watching(Fade):
        name = "watching"

        def shift(self, images, severity, *, rng):
            sizes.append(len(images))
            return super().shift(images, severity, rng=rng)

    images = snellen.load_images(photos)
    monkeypatch.setattr("snellen.verbs.shifted_batches.PIXELS_PER_PASS", 150)
    shift(images, Watching(), severities=(1,), out=tmp_path / "out", contact_sheet=False)
    assert sizes
    assert max(sizes) <= 2
    assert sum(sizes) == 8


def test_the_manifest_reads_back_with_labels_and_provenance(photos, tmp_path):
    images = snellen.load_images(photos)
    written = shift(images, [Told(), Told(amount=0.5)], severities=(1, 2.5), out=tmp_path / "out", seed=7)
    assert list(written.written) == ["told+amount=1.0", "told+amount=0.5"]
    again = snellen.load_images(written.manifest)
    assert len(again) == 8 * 4
    assert again.class_names == ("cat", "dog")
    for row, label in zip(again.table.to_pylist(), again.labels, strict=True):
        setting, severity, source = row["id"].split("/", 2)
        assert setting == row["group"]
        assert severity == row["severity"]
        assert source == row["source_id"] == row["source_path"]
        assert again.class_names[label] == source.split("/")[0]
        made = snellen.Provenance.model_validate_json(row["provenance"])
        assert made == snellen.Provenance(origin="edited", generator="told", seed=7, source_id=source)
        assert json.loads(row["method"]) == Told(amount=float(setting[-3:])).record()
        assert row["published"] == str(severity == "1" and "wide" not in source).lower()
        assert row["seed"] == "7"
    # Each severity alone is a folder with class subfolders, for tools that know no manifests.
    alone = snellen.load_images(tmp_path / "out" / "told+amount=0.5" / "2.5")
    assert alone.class_names == ("cat", "dog")
    assert len(alone) == 8
    assert {row["published"] for row in rows_of(shift(images, Fade(), out=tmp_path / "untold"))} == {None}


def test_what_is_known_of_an_image_goes_along(tmp_path):
    images = in_memory(
        {
            "id": ["a", "b", "c"],
            "label": pa.array([1, None, 0], pa.int64()),
            "unit_id": ["p1", "p1", None],
            "group": ["north", "south", None],
            "mask": ["m/a.png", None, None],
            "caption": ["two, of 'them'", None, 'a "b"\nc'],
            "attributes": ['{"x": 1}', None, None],
            "bag_id": ["s", "s", "t"],
            "bag_label": pa.array([1, 1, None], pa.int64()),
            "extra": ["1", "2", "3"],
        },
        ("dog", "cat"),
        split="val",
    )
    written = shift(images, Fade(), severities=(5,), out=tmp_path / "out")
    again = snellen.load_images(written.manifest)
    assert [again.class_names[label] if label >= 0 else None for label in again.labels] == ["cat", None, "dog"]
    assert again.split == "val"
    of_bags = [None if label is None else again.class_names[label] for label in again.column("bag_label")]
    assert of_bags == ["cat", "cat", None]
    for column in ("unit_id", "caption", "attributes", "bag_id"):
        assert again.column(column) == images.column(column)
    assert again.column("source_group") == ["north", "south", None]
    assert again.column("group") == ["fade"] * 3
    assert again.column("mask") == [None] * 3
    assert sorted(path.parent.name for path in (tmp_path / "out" / "fade").rglob("*.png")) == [
        "cat",
        "dog",
        "unlabelled",
    ]


@pytest.mark.parametrize(
    ("names", "read"),
    [
        (("3.0", "4.0"), ("0", "1")),
        (("", "x"), ("0", "1")),
        (("-1", "-2"), ("0", "1")),
        (("0", "1"), ("0", "1")),
        (("=1+1", "a,b\n"), ("=1+1", "a,b\n")),
        (("../../up", "/etc"), ("../../up", "/etc")),
    ],
)
def test_class_names_that_look_like_something_else(tmp_path, names, read):
    images = in_memory({"id": ["a", "b"], "label": [0, 1]}, names)
    again = snellen.load_images(shift(images, Fade(), severities=(1,), out=tmp_path / "out").manifest)
    assert sorted(again.class_names) == sorted(read)
    order = [again.class_names.index(name) for name in read]
    assert again.labels.tolist() == order


def test_several_labels_and_none(tmp_path):
    columns = {"id": ["a", "b"], "labels": pa.array([[0, 1, 1], None], pa.list_(pa.int8()))}
    again = snellen.load_images(shift(in_memory(columns, ("x", "y", "z")), Fade(), out=tmp_path / "several").manifest)
    assert again.column("labels")[:2] == [[0, 1, 1], None]
    bare = in_memory({"id": ["a", "b"], "label": [0, 1]}, ("x", "y")).unlabelled()
    written = shift(bare, Fade(), severities=(1,), out=tmp_path / "bare")
    assert not snellen.load_images(written.manifest).has_labels
    assert len(list((tmp_path / "bare" / "fade" / "1").glob("*.png"))) == 2
    assert written.plan["data"]["class_names"] is None


def test_hostile_ids_stay_in_the_folder(tmp_path):
    ids = ["../../up", "/etc/passwd", "a/b", "a_b", "x" * 3000, "", "\x1b[2J", "nul\0l", "half\udce9", "日本"]
    ids = [key.encode("utf-8", "backslashreplace").decode() for key in ids]  # a table holds no halves
    images = in_memory({"id": ids, "label": [0, 1] * 5}, ("../..", "C:\\x"))
    written = shift(images, Fade(), severities=(1,), out=tmp_path / "deep" / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"deep"}
    assert {path.name for path in (tmp_path / "deep").iterdir()} == {"out"}
    again = snellen.load_images(written.manifest)
    assert again.column("source_id") == [key or None for key in ids]
    assert [again.read(index).size for index in range(10)] == [(6, 4)] * 10
