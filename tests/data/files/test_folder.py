"""Folders of images, friendly and hostile."""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.data.files.decoding import DecodingLimits
from snellen.data.files.file_source import FileSource
from snellen.data.files.folder import SUFFIXES, load_folder


def put(path: Path, value: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3), (value,) * 3).save(path)
    return path


def reason(images: ImageSet, example_id: str) -> str:
    """Why an image of the set is rejected."""
    with pytest.raises(RejectedImageError) as caught:
        images.read(images.ids.index(example_id))
    return str(caught.value)


def skipped(images: ImageSet) -> int:
    assert isinstance(images.source, FileSource)
    return images.source.skipped


# -- layouts -----------------------------------------------------------------------------------------------------------


def test_class_subfolders(tmp_path: Path) -> None:
    for name in ("dog/b.png", "dog/a.jpg", "cat/deep/er/c.PNG", "Zebra/z.webp"):
        put(tmp_path / name)
    images = load_folder(tmp_path)
    assert images.class_names == ("Zebra", "cat", "dog")
    assert images.ids == ["Zebra/z.webp", "cat/deep/er/c.PNG", "dog/a.jpg", "dog/b.png"]
    assert images.labels.tolist() == [0, 1, 2, 2]
    assert images.name == tmp_path.name
    assert images.split is None
    assert images[1].image.size == (4, 3)


def test_images_alone_have_no_labels(tmp_path: Path) -> None:
    put(tmp_path / "b.png")
    put(tmp_path / "a.bmp")
    images = load_folder(tmp_path, name="mine")
    assert (images.ids, images.class_names, images.name) == (["a.bmp", "b.png"], None, "mine")
    assert not images.has_labels


def test_splits_of_class_subfolders(tmp_path: Path) -> None:
    for name in ("train/cat/1.png", "train/dog/2.png", "valid/cat/3.png", "test/dog/sub/4.png"):
        put(tmp_path / name)
    images = load_folder(tmp_path)
    assert images.class_names == ("cat", "dog")
    assert images.column("split") == ["test", "train", "train", "val"]
    assert images.labels.tolist() == [1, 0, 1, 0]
    assert images.split is None
    assert images.of_split("val").ids == ["valid/cat/3.png"]
    with pytest.raises(InputError, match="holds test images"):
        images.for_fitting()
    assert images.of_split("train").for_fitting().split == "train"


def test_a_split_alone_is_typed(tmp_path: Path) -> None:
    put(tmp_path / "val" / "cat" / "1.png")
    images = load_folder(tmp_path)
    assert (images.split, images.class_names) == ("val", ("cat",))


def test_a_split_without_class_subfolders_has_no_labels(tmp_path: Path) -> None:
    put(tmp_path / "train" / "cat" / "1.png")
    put(tmp_path / "test" / "2.png")
    images = load_folder(tmp_path)
    assert images.labels.tolist() == [-1, 0]
    assert images.column("split") == ["test", "train"]


def test_names_of_splits_are_class_names_when_they_hold_no_class_subfolders(tmp_path: Path) -> None:
    put(tmp_path / "train" / "1.png")
    put(tmp_path / "test" / "2.png")
    assert load_folder(tmp_path).class_names == ("test", "train")


def test_names_of_splits_are_class_names_beside_other_classes(tmp_path: Path) -> None:
    put(tmp_path / "train" / "steam" / "1.png")
    put(tmp_path / "bus" / "2.png")
    images = load_folder(tmp_path)
    assert images.class_names == ("bus", "train")
    assert images.column("split") == [None, None]


def test_images_beside_class_folders_are_rejected_by_name(tmp_path: Path) -> None:
    put(tmp_path / "cat" / "1.png")
    put(tmp_path / "stray.png")
    images = load_folder(tmp_path)
    assert images.class_names == ("cat",)
    assert "beside the class folders" in reason(images, "stray.png")
    put(tmp_path / "splits" / "train" / "cat" / "1.png")
    put(tmp_path / "splits" / "train" / "stray.png")
    assert "beside the class folders" in reason(load_folder(tmp_path / "splits"), "train/stray.png")


def test_ids_do_not_depend_on_the_order_of_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b/2.png", "b/10.png", "a/x.png", "a.b/y.png", "a/z/q.png"):
        put(tmp_path / name)
    expected = load_folder(tmp_path)
    assert expected.ids == ["a.b/y.png", "a/x.png", "a/z/q.png", "b/10.png", "b/2.png"]  # as text, not by folder
    real = os.scandir

    class Shuffled:
        def __init__(self, path: str) -> None:
            with real(path) as entries:
                self.entries = list(entries)
            shuffle.shuffle(self.entries)

        def __enter__(self) -> list[os.DirEntry[str]]:
            return self.entries  # type: ignore[return-value]

        def __exit__(self, *_: object) -> None:
            pass

    shuffle = random.Random(0)
    monkeypatch.setattr(os, "scandir", Shuffled)
    for _ in range(5):
        found = load_folder(tmp_path)
        assert (found.ids, found.labels.tolist(), found.fingerprint()) == (
            expected.ids,
            expected.labels.tolist(),
            expected.fingerprint(),
        )


def test_hidden_files_and_other_endings_are_skipped_and_counted(tmp_path: Path) -> None:
    put(tmp_path / "cat" / "1.png")
    put(tmp_path / "cat" / ".2.png")
    put(tmp_path / ".hidden" / "3.png")
    (tmp_path / "cat" / "notes.txt").write_text("x")
    (tmp_path / "README").write_text("x")
    (tmp_path / "empty").mkdir()
    images = load_folder(tmp_path)
    assert images.ids == ["cat/1.png"]
    assert images.class_names == ("cat",)
    assert skipped(images) == 2


def test_all_endings_are_found(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        (tmp_path / f"x{suffix.upper()}").write_bytes(b"x")
    assert len(load_folder(tmp_path)) == 10


# -- contents ----------------------------------------------------------------------------------------------------------


def test_content_hash_is_of_the_stored_bytes(tmp_path: Path) -> None:
    path = put(tmp_path / "cat" / "1.png")
    images = load_folder(tmp_path)
    assert images.content_hash(0) == hashlib.sha256(path.read_bytes()).hexdigest()
    before = images.fingerprint()
    put(path, 101)
    assert images.content_hash(0) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert images.fingerprint() != before


def test_fingerprint_changes_when_an_image_moves_to_another_class(tmp_path: Path) -> None:
    put(tmp_path / "cat" / "1.png")
    put(tmp_path / "dog" / "2.png")
    put(tmp_path / "dog" / "3.png")
    before = load_folder(tmp_path).fingerprint()
    (tmp_path / "dog" / "3.png").rename(tmp_path / "cat" / "3.png")
    assert load_folder(tmp_path).fingerprint() != before


def test_damaged_file_is_rejected_by_name_and_the_others_are_read(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    images = load_folder(tmp_path)
    assert images[0].image.size == (4, 3)
    assert "not a readable image" in reason(images, "b.png")


def test_deleted_file_is_rejected_and_still_has_a_hash(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    images = load_folder(tmp_path)
    present = images.content_hash(0)
    (tmp_path / "a.png").unlink()
    assert reason(images, "a.png") == "there is no such file"
    assert images.content_hash(0) != present


def test_limits_and_range_reach_the_decoder(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 4095]], dtype=np.uint16)).save(tmp_path / "a.png")
    size = (tmp_path / "a.png").stat().st_size
    assert load_folder(tmp_path, grey_range=(0, 4095)).read(0).getpixel((1, 0)) == (255, 255, 255)
    too_large = load_folder(tmp_path, limits=DecodingLimits(max_bytes=size - 1))
    assert reason(too_large, "a.png") == f"the file has {size} bytes, more than {size - 1} (max_bytes)"
    assert too_large.content_hash(0) != load_folder(tmp_path).content_hash(0)


def test_dicom_files_are_refused_by_name(tmp_path):
    (tmp_path / "a").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "a" / "0.png")
    (tmp_path / "a" / "1.DCM").write_bytes(b"x")
    images = load_folder(tmp_path)
    assert images.ids == ["a/0.png", "a/1.DCM"]
    with pytest.raises(RejectedImageError, match="DICOM files are read as dicom:FOLDER"):
        images.read(1)
