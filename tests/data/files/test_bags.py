"""Bags of an image set: members, labels, units, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from snellen.core.errors import InputError
from snellen.core.images import COLUMNS, ImageSet
from snellen.data.files.bags import Bags
from snellen.data.worlds.slides.slides import Slides


def image_set(**columns: list[Any]) -> ImageSet:
    table = {"id": [f"image-{index}" for index in range(len(columns["bag_id"]))], **columns}
    arrays = {name: pa.array(values, COLUMNS[name]) for name, values in table.items()}
    return ImageSet(None, pa.table(arrays), ("negative", "positive"), "tiles")  # type: ignore[arg-type]


def test_bags_of_slides_are_those_that_were_made() -> None:
    slides = Slides(count=4, tiles_across=6, tile_size=32, slides_per_patient=2)
    tiles = slides.images()
    bags = Bags.of(tiles.unlabelled())
    assert dict(zip(bags.ids, bags.labels.tolist(), strict=True)) == slides.slide_labels()
    assert sorted(np.concatenate(bags.members).tolist()) == list(range(len(tiles)))
    for position, (bag, unit, rows) in enumerate(zip(bags.ids, bags.units, bags.members, strict=True)):
        assert {tiles.column("bag_id")[row] for row in rows} == {bag}
        assert {tiles.column("unit_id")[row] for row in rows} == {unit}
        assert set(bags.of_image[rows].tolist()) == {position}
        assert bool(tiles.labels[rows].any()) == bool(bags.labels[position])


def test_a_label_said_once_is_the_label_of_the_bag() -> None:
    bags = Bags.of(image_set(bag_id=["s", "t", "s"], bag_label=[None, 0, 1], unit_id=["p", None, None]))
    assert (bags.labels.tolist(), bags.units) == ([1, 0], ("p", None))


def test_labels_may_be_unknown_where_requested() -> None:
    assert Bags.of(image_set(bag_id=["s", "t"]), labelled=False).labels.tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"bag_id": []}, "holds no images"),
        ({"bag_id": ["s", None]}, "'image-1' of tiles is in no bag"),
        ({"bag_id": ["s", "t"], "bag_label": [1, None]}, "bag 't' of tiles has no label"),
        ({"bag_id": ["s", "s"], "bag_label": [1, 0]}, "bag 's' of tiles has two values of bag_label: 0 and 1"),
        ({"bag_id": ["s", "s"], "bag_label": [1, 1], "unit_id": ["p", "q"]}, "two values of unit_id: p and q"),
        ({"bag_id": ["s"], "bag_label": [2]}, "bag 's' of tiles has label 2, but there are 2 classes"),
    ],
)
def test_what_is_no_set_of_bags(columns: dict[str, list[Any]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Bags.of(image_set(**columns))
