"""A row for each class, in the order of the set."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from snellen.data.files.arrays import load_arrays
from snellen.methods.generation.sample import Sample
from snellen.runs.generated_files import IN_A_ROW, MOST_CLASSES, class_grid
from snellen.runs.picture_grid import HEAD
from snellen.runs.thumbnails import GAP, LINE, SIDE, TITLE
from snellen.verbs.generate import generate
from snellen.verbs.requests import load_requests


def shades(labels, names):
    """Every image is one shade, 10 times its position."""
    pixels = np.broadcast_to(10 * np.arange(len(labels))[:, None, None, None], (len(labels), 8, 8, 3))
    return load_arrays(pixels.astype(np.uint8), labels, class_names=names, name="shades")


def shade_at(picture: Image.Image, row: int, column: int) -> int:
    return picture.getpixel((GAP + column * (SIDE + GAP) + 5, TITLE + HEAD + row * (SIDE + LINE + GAP) + 5))[0]


def test_rows_are_classes_and_pictures_stand_in_the_order_of_the_set() -> None:
    picture = class_grid(shades([1, 0, 1, -1, 0, 1], ["cat", "dog"]))
    assert [shade_at(picture, 0, column) for column in range(3)] == [0, 20, 50], "dogs come first in the set"
    assert [shade_at(picture, 1, column) for column in range(2)] == [10, 40]
    assert picture.width == GAP + 3 * (SIDE + GAP)


def test_long_rows_and_many_classes_are_cut() -> None:
    assert class_grid(shades([0] * 12 + [1] * 2, ["a", "b"])).width == GAP + IN_A_ROW * (SIDE + GAP)
    many = class_grid(shades(list(range(25)) * 2, [f"class {index}" for index in range(25)]))
    assert many.height == TITLE + HEAD + MOST_CLASSES * (SIDE + LINE + GAP)


def test_nothing_is_drawn_that_a_sheet_shows_as_well() -> None:
    assert class_grid(shades([0, 0, 0], ["a"])) is None
    assert class_grid(shades([0, 1], ["a", "b"])) is None
    assert class_grid(shades([-1, -1], ["a", "b"])) is None


def test_classes_that_were_requested_come_with_a_grid(tmp_path) -> None:
    method = Sample(generator="bundled:fashion-diffusion", guidance_scale=1.0, steps=1)
    made = generate(method, load_requests("classes:Bag,Coat?count=2", method.known_classes()), out=tmp_path / "made")
    assert made.files == ("manifest.csv", "sheet.png", "grid.png")
    with Image.open(tmp_path / "made" / "grid.png") as grid:
        assert grid.width == GAP + 2 * (SIDE + GAP)
    assert json.loads((tmp_path / "made" / "generate.json").read_text())["files"] == list(made.files)
    bare = generate(
        method, load_requests("classes:Bag,Coat?count=2", method.known_classes()), out=tmp_path / "bare", sheet=False
    )
    assert bare.files == ("manifest.csv",)
