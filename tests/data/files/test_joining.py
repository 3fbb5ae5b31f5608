"""Several sets as one: order, pixels, splits, and what may not be joined."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.data.files.arrays import load_arrays
from snellen.data.files.bags import boxes_of_tiles, tiled_source
from snellen.data.files.joining import join
from snellen.data.files.splits import as_split
from snellen.data.worlds.slides.slides import Slides


def make(name: str, count: int, start: int, **options: object) -> ImageSet:
    """Images of one grey value each, ``start``, ``start + 1`` …; ids are "name/000000" …"""
    pixels = np.arange(start, start + count, dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(5, 2)
    labels = np.arange(count) % 2
    images = load_arrays(pixels, labels, name=name, **{"class_names": ["a", "b"], **options})
    column = images.table.column_names.index("id")
    ids = [[f"{name}/{one}" for one in images.ids]]
    return replace(images, table=images.table.set_column(column, "id", ids))


def values(images: ImageSet) -> list[int]:
    return [images.read(index).getpixel((0, 0))[0] for index in range(len(images))]


def test_another_split_is_refused():
    with pytest.raises(InputError, match="expected the split train, val or test, got 'tune'"):
        as_split(load_arrays(np.zeros((2, 4, 4), dtype=np.uint8)), "tune")


def test_one_set_after_the_other() -> None:
    first, second, third = make("x", 3, 10), make("y", 2, 20).select([1]), make("z", 2, 30)
    joined = join([first, second, third])
    assert joined.ids == [*first.ids, *second.ids, *third.ids]
    assert values(joined) == [10, 11, 12, 21, 30, 31]
    assert joined.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert (joined.name, joined.class_names, joined.split) == ("x + y + z", ("a", "b"), None)
    parts = [*map(first.content_hash, range(3)), second.content_hash(0), *map(third.content_hash, range(2))]
    assert [joined.content_hash(index) for index in range(6)] == parts
    assert join([first], name="mine").name == "mine"


def test_selections_of_a_joined_set_keep_their_pixels() -> None:
    joined = join([make("x", 3, 10), make("y", 2, 20)])
    chosen = joined.select([4, 0, 2])
    assert (values(chosen), chosen.ids) == ([21, 10, 12], ["y/000001", "x/000000", "x/000002"])
    again = join([chosen, make("z", 1, 30)])
    assert values(again.select([3, 1])) == [30, 10]


def test_tiles_stay_in_their_slides() -> None:
    slides = Slides(count=1, tiles_across=6, tile_size=32)
    train, test = slides.images(split="train"), slides.images(split="test").select([3, 1, 2])
    joined = join([train, test])
    chosen = [len(train) + 1, 0]
    expected = [boxes_of_tiles(test, [1])[0], boxes_of_tiles(train, [0])[0]]
    np.testing.assert_array_equal(boxes_of_tiles(joined, chosen), expected)
    assert boxes_of_tiles(joined, []).shape == (0, 4)
    for part in (train, test):
        bag = part.column("bag_id")[0]
        assert tiled_source(joined).bag_thumbnail(bag, 64) == tiled_source(part).bag_thumbnail(bag, 64)
    with pytest.raises(InputError, match="there is no bag 'elsewhere'"):
        tiled_source(joined).bag_thumbnail("elsewhere", 64)
    plain = replace(train, source=load_arrays(np.zeros((len(train), 4, 4), dtype=np.uint8)).source, rows=None)
    with pytest.raises(InputError, match="is no set of tiles"):
        tiled_source(join([plain, test]))


def test_splits_and_further_columns_stay() -> None:
    train, val = as_split(make("x", 2, 10), "train"), as_split(make("y", 1, 20), "val")
    joined = join([train, val])
    assert joined.split is None
    assert joined.column("split") == ["train", "train", "val"]
    assert values(joined.of_split("val")) == [20]
    assert join([train, as_split(make("z", 1, 30), "train")]).split == "train"
    plain = make("y", 1, 20)
    assert join([train, plain]).column("split") == ["train", "train", None]


def test_a_test_set_stays_one_among_others() -> None:
    test = replace(make("y", 1, 20), split="test")  # known by its type alone, without a column
    for parts in ([make("x", 2, 10), test], [test], [as_split(make("x", 2, 10), "train"), as_split(test, "test")]):
        with pytest.raises(InputError, match="holds test images"):
            join(parts).for_fitting()


def test_a_label_free_view_stays_one() -> None:
    joined = join([make("x", 2, 10), make("y", 2, 20).unlabelled()])
    assert joined.hidden
    assert not joined.has_labels


def test_refused() -> None:
    with pytest.raises(InputError, match="at least one image set"):
        join([])
    with pytest.raises(InputError, match="different classes cannot be joined: x, y"):
        join([make("x", 2, 10), make("y", 2, 20, class_names=["b", "a"])])
    with pytest.raises(InputError, match="ids must be unique; 'x/000000' occurs twice"):
        join([make("x", 2, 10), make("x", 1, 20)])
    with pytest.raises(IndexError):
        join([make("x", 2, 10)]).source.read(2)
