"""Known sets by name and by reference."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from snellen.core.errors import InputError, UnknownNameError
from snellen.data.files.bundled import FASHION_CLASSES
from snellen.data.files.catalogue.known_set import known_set
from snellen.data.files.catalogue.loading import known_sets, load_known, load_reference
from tests.data.files.catalogue.small_files import cutout, encoded, pixel_table, stamp


def small_digits(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    pixel_table(folder / "digits.csv.gz", rng.integers(0, 17, (4, 8, 8)), np.array([0, 9, 5, 5]))
    return folder


def small_fashion(folder: Path) -> Path:
    for part, count in (("train", 3), ("t10k", 2)):
        pixels = bytes([0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, 28, 0, 0, 0, 28]) + bytes(28 * 28 * count)
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(pixels))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(
            gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, count, *range(count)]))
        )
    return folder


def test_another_file_than_expected_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"digits\.csv\.gz is not the file of scikit-learn 1\.9\.1: its sha256 is"):
        load_known("digits", path=small_digits(tmp_path))


def test_other_versions_when_requested(tmp_path: Path) -> None:
    images = load_known("digits", path=small_digits(tmp_path), verify=False)
    assert images.labels.tolist() == [0, 9, 5, 5]
    assert images.name == known_set("digits").title
    assert {json.loads(str(text))["origin"] for text in images.column("provenance")} == {"real"}
    same = load_reference(f"known:digits@{tmp_path}", verify=False, name="mine")
    assert (same.fingerprint(), same.name) == (images.fingerprint(), "mine")


def test_splits(tmp_path: Path) -> None:
    small_fashion(tmp_path)
    test = load_known("fashion-mnist", path=str(tmp_path), verify=False)
    assert (len(test), test.split, test.class_names) == (2, "test", FASHION_CLASSES)
    assert test.name == "Fashion-MNIST (test split)"
    train = load_reference(f"fashion-mnist@{tmp_path}", verify=False, split="train")
    assert (len(train), train.split) == (3, "train")
    assert set(train.ids).isdisjoint(test.ids)
    assert json.loads(str(train.column("provenance")[0])) == {"origin": "real"}
    with pytest.raises(InputError, match="has no split 'val': its splits are train and test"):
        load_known("fashion-mnist", split="val")
    with pytest.raises(InputError, match="has no split 'train': it comes in no splits"):
        load_known("digits", split="train")


def test_stamps_and_emoji_by_path(tmp_path: Path) -> None:
    stamp(tmp_path / "stamps", "animals/crow")
    images = load_reference(f"known:stamps@{tmp_path / 'stamps'}", verify=False)
    assert images.ids == ["animals/crow/white"]
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "1f004.webp").write_bytes(encoded(cutout(), "WEBP"))
    emoji = load_reference(f"known:emoji-fluent@{tmp_path}", verify=False)
    assert emoji.class_names == ("mahjong tile red dragon",)


def test_references_that_are_none() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'stamps'"):
        load_reference("known:stamp")
    with pytest.raises(InputError, match="write known:NAME, or known:NAME@PATH"):
        load_reference("known:stamps@")
    with pytest.raises(InputError, match="write known:NAME"):
        load_reference("known:stamps@a\0b")
    with pytest.raises(InputError, match="there is nothing at"):
        load_reference("known:stamps@/nowhere@home")


def test_the_catalogue_says_what_each_set_is() -> None:
    listed = known_sets()
    assert listed[0].known.name == "fashion-mnist"
    for one in listed:
        assert one.known.licence
        assert one.known.citation
        assert one.installed == all(folder is not None for folder in one.folders)
        assert all(source.package in source.install for source in one.known.sources)
    gpl = [one.known for one in listed if "GPL" in one.known.licence]
    assert [(known.name, known.may_ship) for known in gpl] == [("stamps", False)]
