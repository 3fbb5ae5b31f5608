"""Tables of pixels, sound, damaged and hostile."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.data.files.catalogue.pixel_csv import load_pixel_csv
from tests.data.files.catalogue.small_files import pixel_table

PIXELS = np.random.default_rng(0).integers(0, 17, (5, 3, 3))
LABELS = np.array([1, 0, 1, 2, 0])


def load(path: Path, **options: int) -> ImageSet:
    return load_pixel_csv(path, side=3, largest=16, class_names=["a", "b", "c"], name="small", **options)


def test_pictures_and_classes(tmp_path: Path) -> None:
    images = load(pixel_table(tmp_path / "small.csv.gz", PIXELS, LABELS))
    assert (images.ids[4], images.class_names, images.labels.tolist()) == ("000004", ("a", "b", "c"), LABELS.tolist())
    for row, picture in enumerate(PIXELS):
        expected = [[round(255 * int(value) / 16) for value in line] for line in picture]
        assert np.asarray(images.read(row))[..., 0].tolist() == expected
    assert images.read(0).mode == "RGB"


def test_numbers_written_as_floats_are_the_same(tmp_path: Path) -> None:
    whole = load(pixel_table(tmp_path / "a.csv.gz", PIXELS, LABELS))
    floats = load(pixel_table(tmp_path / "b.csv.gz", PIXELS.astype(float), LABELS))
    assert whole.fingerprint() == floats.fingerprint()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "holds no lines"),
        (b"1,2,3\n", "lines have 3 numbers; expected 9 pixels and a class"),
        (b"0,0,0,0,0,0,0,0,0,0\n0,0,0,0,0,0,0,0,17,0\n", "line 2 holds what is no whole number from 0 to 16"),
        (b"0,0,0,0,0,0,0,0,0.5,0\n", "line 1 holds"),
        (b"0,0,0,0,0,0,0,0,nan,0\n", "line 1 holds"),
        (b"0,0,0,0,0,0,0,0,0,3\n", "class 3 is out of range"),
        (b"0,0,0,0,0,0,0,0,0,nan\n", "line 1 holds"),
        (b"0,0,0,0,0,0,0,0,0,inf\n", "line 1 holds"),
        (b"0,0,0\n0,0\n", "not a table of numbers"),
        (b"a,b,c\n", "not a table of numbers"),
        (b"\xff\xfe,1\n", "not a table of numbers"),
    ],
)
def test_other_tables_are_refused(tmp_path: Path, text: bytes, message: str) -> None:
    path = tmp_path / "odd.csv.gz"
    path.write_bytes(gzip.compress(text))
    with pytest.raises(InputError, match=message):
        load(path)


def test_damaged_and_hostile_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv.gz"
    path.write_bytes(b"no gzip")
    with pytest.raises(InputError, match=r"not a readable \.gz file"):
        load(path)
    path.write_bytes(gzip.compress(b"0,0,0\n" * 100)[:-12])
    with pytest.raises(InputError, match="ends early"):
        load(path)
    path.write_bytes(gzip.compress(b"0" * 1_000_000))
    with pytest.raises(InputError, match="unpacks to more than 1000 bytes"):
        load(path, max_text_bytes=1000)
    with pytest.raises(InputError, match="there is no such file"):
        load(tmp_path / "absent.csv.gz")
    os.mkfifo(tmp_path / "pipe.csv.gz")
    with pytest.raises(InputError, match="a named pipe"):
        load(tmp_path / "pipe.csv.gz")
