"""The packages' own files, where they are installed: how many pictures, and what other readers make of them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.data.files.catalogue.colour_bitmap_font import read_colour_bitmaps
from snellen.data.files.catalogue.known_set import find_source, known_set
from snellen.data.files.catalogue.loading import load_known
from snellen.data.files.catalogue.stamps import load_stamps


def installed(name: str) -> ImageSet:
    try:
        return load_known(name)
    except InputError as error:
        if (
            "is not installed" not in str(error)
            and "expected the file of" not in str(error)
            and "sha256" not in str(error)
        ):
            raise
        pytest.skip(f"{name}, of the version of the catalogue: {str(error)[:120]}")


def test_fashion_mnist() -> None:
    images = installed("fashion-mnist")
    assert (len(images), np.bincount(images.labels).tolist()) == (10_000, [1000] * 10)


def test_digits_as_scikit_learn_reads_them() -> None:
    images = installed("digits")
    theirs = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed").load_digits()
    assert images.labels.tolist() == theirs.target.tolist()
    expected = np.rint(theirs.images * 255 / 16)
    assert all((np.asarray(images.read(row))[..., 0] == expected[row]).all() for row in range(len(images)))


def test_mnist() -> None:
    images = installed("mnist-5k")
    assert (len(images), np.bincount(images.labels).tolist()) == (5000, [500] * 10)


def test_photos() -> None:
    images = installed("photos")
    assert len(images) == 21
    assert images.read(images.ids.index("scikit-image/coffee.png")).size == (600, 400)
    assert images.read(images.ids.index("scikit-learn/flower.jpg")).size == (640, 427)


def test_stamps() -> None:
    folder = find_source(known_set("stamps").sources[0])
    if folder is None:
        pytest.skip("Debian's tuxpaint-stamps-default is not installed")
    images = load_stamps(folder / "animals")  # a part: all 570 take longer than a test should
    assert len(images) == 132
    assert not any(caption is None for caption in images.column("caption"))
    row = images.ids.index("birds/blackbird/white")
    assert images.column("caption")[row] == "A blackbird."
    assert json.loads(str(images.column("attributes")[row]))["chatty"] is False


def test_noto_as_another_reader_reads_it() -> None:
    folder = find_source(known_set("emoji-noto").sources[0])
    if folder is None:
        pytest.skip("Debian's fonts-noto-color-emoji is not installed")
    path = Path(folder) / "NotoColorEmoji.ttf"
    ours = read_colour_bitmaps(path.read_bytes())
    assert Image.open(io.BytesIO(ours[0x1F600])).size == (136, 128)
    tables = pytest.importorskip("fontTools.ttLib", reason="fontTools is not installed")
    with tables.TTFont(path) as other:
        strike = other["CBDT"].strikeData[0]
        theirs = {code: strike[glyph].imageData for code, glyph in other.getBestCmap().items() if glyph in strike}
    assert {code: bytes(picture) for code, picture in ours.items()} == theirs
