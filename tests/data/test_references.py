"""One function for every kind of reference."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import snellen
from snellen.core import package
from snellen.core.errors import InputError, UnknownNameError
from snellen.data.files.bundled import FASHION_CLASSES, load_bundled
from snellen.data.references import load_images


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3)).save(path)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    for name in ("photos/cat/1.png", "photos/dog/2.png", "splits/train/cat/1.png", "splits/test/cat/2.png"):
        put(tmp_path / name)
    (tmp_path / "list.csv").write_text("path,split\nphotos/cat/1.png,train\nphotos/dog/2.png,val\n")
    pq.write_table(pa.table({"path": ["photos/cat/1.png"]}), tmp_path / "list.parquet")
    pixels = np.zeros((2, 4, 4), np.uint8)
    np.savez(tmp_path / "med.npz", train_images=pixels, train_labels=[0, 1], test_images=pixels[:1], test_labels=[0])
    return tmp_path


def test_every_kind_of_file(here: Path) -> None:
    assert snellen.load_images is load_images
    assert load_images(here / "photos").class_names == ("cat", "dog")
    assert load_images(str(here / "photos") + "/").ids == ["cat/1.png", "dog/2.png"]
    assert len(load_images(here / "list.csv")) == 2
    assert load_images(here / "list.parquet").ids == ["photos/cat/1.png"]
    assert load_images(here / "med.npz").name == "med (test split)"
    for ref in (here / "photos", here / "list.csv", here / "med.npz"):
        assert load_images(ref, name="mine").name == "mine"


def test_arrays(here: Path) -> None:
    pixels = np.zeros((2, 4, 4, 3), np.uint8)
    assert load_images(pixels).name == "arrays"
    assert load_images(torch.from_numpy(pixels)).ids == ["000000", "000001"]
    found = load_images((pixels, np.array([1, 0])), name="mine")
    assert (found.labels.tolist(), found.class_names, found.name) == ([1, 0], ("0", "1"), "mine")
    assert load_images(found) is found
    assert load_images(found, name="other").name == "other"
    for wrong in ((pixels,), (pixels, [0, 1], 3)):
        with pytest.raises(InputError, match=r"\(images, labels\)"):
            load_images(wrong)  # type: ignore[arg-type]
    for wrong in (3, None):
        with pytest.raises(InputError, match=r"cannot be loaded from .* known forms: bundled:fashion-mnist"):
            load_images(wrong)  # type: ignore[arg-type]


def test_splits_by_suffix(here: Path) -> None:
    train = load_images(f"{here}/splits#train")
    assert (train.ids, train.split, train.name) == (["train/cat/1.png"], "train", "splits (train split)")
    assert load_images(f"{here}/list.csv#val").ids == ["photos/dog/2.png"]
    assert load_images(f"{here}/list.csv#val").split == "val"
    assert load_images(f"{here}/list.csv#val", name="mine").name == "mine"
    assert load_images(f"{here}/med.npz#train").split == "train"
    assert len(load_images(f"{here}/med.npz#train")) == 2
    with pytest.raises(InputError, match="has no images of split 'test'"):
        load_images(f"{here}/list.csv#test")
    with pytest.raises(InputError, match="no images of split 'val'"):
        load_images(f"{here}/med.npz#val")
    with pytest.raises(InputError, match="unknown split 'holdout'; known: train"):
        load_images(f"{here}/list.csv#holdout")


def test_a_file_may_be_called_like_a_split(here: Path) -> None:
    put(here / "odd#test" / "cat" / "1.png")
    assert load_images(here / "odd#test").split is None


def test_missing_files_have_near_names(here: Path) -> None:
    with pytest.raises(InputError, match=r"there is nothing at .*fotos; did you mean '.*photos'\?"):
        load_images(here / "fotos")
    with pytest.raises(InputError, match=r"did you mean '.*list.csv' or"):
        load_images(f"{here}/lits.csv#test")
    with pytest.raises(InputError, match=r"nothing at .*zzzzzz; known forms"):
        load_images(here / "zzzzzz")
    with pytest.raises(InputError, match=r"folder .*nowhere/deep does not exist; .* exists"):
        load_images(here / "nowhere" / "deep" / "photos")


def test_unknown_forms_list_the_known_ones(here: Path) -> None:
    (here / "a.rar").write_bytes(b"x")
    os.mkfifo(here / "pipe.csv")
    cases = [
        (here / "a.rar", r"a file ending in '.rar'; known forms: bundled:fashion-mnist, a procedural world"),
        (here / "pipe.csv", r"neither a file nor a folder"),
        ("hf:cifar10", r"unknown kind of reference 'hf:' .* known forms"),
        ("https://example.org/a.zip", r"unknown kind of reference 'https:'"),
        ("", "names no images; known forms"),
        ("a\0b", "names no images"),
    ]
    for ref, message in cases:
        with pytest.raises(InputError, match=message):
            load_images(ref)


# -- images that come with the package ---------------------------------------------------------------------------------


@pytest.fixture
def assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(package, "asset_folders", lambda: [tmp_path])
    return tmp_path


def test_bundled_images_have_names_and_are_a_test_set(assets: Path) -> None:
    pixels = np.zeros((3, 28, 28), np.uint8)
    np.savez(assets / "fashion-mnist-2000.npz", test_images=pixels, test_labels=np.array([[9], [0], [3]], np.uint8))
    images = load_images("bundled:fashion-mnist")
    assert images.name == "fashion-mnist (2,000 test images, 28-pixel product thumbnails)"
    assert (images.class_names, images.split, images.ids[2]) == (FASHION_CLASSES, "test", "test/000002")
    assert [FASHION_CLASSES[label] for label in images.labels] == ["Ankle boot", "T-shirt/top", "Dress"]
    assert len(load_images("bundled:fashion-mnist#test", name="mine")) == 3
    with pytest.raises(InputError, match="no images of split 'train'"):
        load_images("bundled:fashion-mnist#train")
    with pytest.raises(InputError, match="holds test images"):
        images.for_fitting()


def test_bundled_images_may_be_missing(assets: Path) -> None:
    with pytest.raises(InputError, match=r"fashion-mnist-2000\.npz is not part of this installation; check the name"):
        load_images("bundled:fashion-mnist")
    with pytest.raises(UnknownNameError, match="did you mean 'fashion-mnist'"):
        load_images("bundled:fashion-mnits")


def test_bundled_images_as_shipped() -> None:
    images = load_bundled("fashion-mnist")
    assert len(images) == 2000
    assert images[0].image.size == (28, 28)
    assert set(images.labels.tolist()) == set(range(10))
    assert len({images.content_hash(index) for index in range(0, 2000, 100)}) == 20
