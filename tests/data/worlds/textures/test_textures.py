"""Pairs of textures as an image set."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.core.images import COLUMNS
from snellen.data.worlds.textures.breaking import FAILURES
from snellen.data.worlds.textures.patterns import GENERATORS
from snellen.data.worlds.textures.textures import Textures


def test_columns_say_what_is_known() -> None:
    images = Textures(count=7, size=32, seed=1).images(split="train")
    assert all(images.table.schema.field(name).type == COLUMNS[name] for name in images.table.column_names)
    assert (len(images), images.split, images.class_names) == (7, "train", ("not tileable", "tileable"))
    assert images.ids[6] == "train/000006"
    known = [json.loads(str(text)) for text in images.column("attributes")]
    assert [row["failure"] is None for row in known] == [label == 1 for label in images.labels]
    assert [row["generator"] for row in known] == images.column("group")
    assert images.read(0).size == (32, 32)


def test_twins_share_pattern_and_colours() -> None:
    images = Textures(count=60, seed=1).images()
    known = [json.loads(str(text)) for text in images.column("attributes")]
    units = images.column("unit_id")
    pictures = np.stack([np.asarray(images.read(index)) for index in range(60)]).astype(float)
    means = pictures.mean((1, 2))
    for even in range(0, 60, 2):
        assert units[even] == units[even + 1]
        assert known[even]["frequency"] == known[even + 1]["frequency"]
        assert images.column("group")[even] == images.column("group")[even + 1]
        if known[even + 1]["failure"] not in ("ramp", "blob"):
            assert np.abs(means[even] - means[even + 1]).max() < 25
    assert Counter(units).most_common(1)[0][1] == 2


def test_colour_alone_does_not_tell_a_bent_texture() -> None:
    """Twins differ as often one way as the other in brightness and contrast."""
    failures = ("crop", "rotation", "shear", "perspective")
    images = Textures(count=400, size=32, failures=failures, seed=3).images()
    pictures = np.stack([np.asarray(images.read(index)) for index in range(400)]).astype(float)
    for statistic in (pictures.mean((1, 2, 3)), pictures.std((1, 2, 3))):
        share = (statistic[::2] > statistic[1::2]).mean()
        assert abs(share - 0.5) < 3.5 * 0.5 / 200**0.5


def test_a_texture_does_not_depend_on_how_many_there_are() -> None:
    few, many = (Textures(count=count, size=32, seed=1).images() for count in (9, 30))
    assert many.table.slice(0, 9).equals(few.table)
    assert many.read(8).tobytes() == few.read(8).tobytes()
    assert many.content_hash(8) == few.content_hash(8)
    assert len({many.content_hash(index) for index in range(30)}) == 30


def test_splits_are_disjoint() -> None:
    train, test = (Textures(count=20, size=32).images(split=split) for split in ("train", "test"))
    assert not set(train.column("unit_id")) & set(test.column("unit_id"))
    assert not {train.content_hash(i) for i in range(20)} & {test.content_hash(i) for i in range(20)}


def test_patterns_can_be_held_out_for_the_test() -> None:
    textures = Textures(count=200, size=32, held_out=("bricks", "wood"))
    assert set(textures.images(split="test").column("group")) == {"bricks", "wood"}
    assert set(textures.images(split="train").column("group")) == set(GENERATORS) - {"bricks", "wood"}
    assert set(textures.images(split="val").column("group")) == set(GENERATORS) - {"bricks", "wood"}
    with pytest.raises(InputError, match=r"held_out names all generators \(bricks\): leave some to train on"):
        Textures(generators=("bricks",), held_out=("bricks",)).images(split="train")


def test_kinds_are_drawn_evenly() -> None:
    images = Textures(count=6000, size=16).images()
    for values, kinds in ((images.column("group"), len(GENERATORS)), (failures_of(images), len(FAILURES))):
        counts = np.array(list(Counter(values).values()))
        assert len(counts) == kinds
        expected = counts.sum() / kinds
        units = 2 if kinds == len(GENERATORS) else 1  # twins share their generator
        assert np.abs(counts - expected).max() < 4.5 * (units * expected) ** 0.5


def failures_of(images) -> list[str]:
    found = [json.loads(text)["failure"] for text in images.column("attributes")]
    return [name for name in found if name is not None]


def test_what_cannot_be_is_refused() -> None:
    for wrong in ({"size": 8}, {"generators": ()}, {"failures": ("fire",)}, {"count": 0}, {"colour": "red"}):
        with pytest.raises(InputError):
            Textures(**wrong)
