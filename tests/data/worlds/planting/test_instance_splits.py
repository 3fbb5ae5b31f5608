"""Splits by unit: none shared, shares kept, classes everywhere; and the leaky ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snellen.core.errors import InputError
from snellen.core.images import ImageSet, Provenance
from snellen.core.randomness import Randomness
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.data.worlds.planting.instance_splits import instance_splits, leaky_splits
from snellen.data.worlds.planting.near_duplicates import NearDuplicates
from snellen.data.worlds.planting.truth import planted_of, set_column
from tests.data.worlds.planting.labelled_sets import labelled_set, shuffled

RNG = Randomness(8)
SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}


def units_of_one_class(units: int = 200, each: int = 3, classes: int = 4) -> ImageSet:
    """Units of ``each`` images, all of one class."""
    images = labelled_set(units * each, size=1, classes=classes, split=None)
    unit = np.repeat(np.arange(units), each)
    table = set_column(images.table, "unit_id", pa.array([f"unit {one}" for one in unit]))
    return replace(images, table=set_column(table, "label", pa.array(unit % classes)))


def sides(images: ImageSet) -> dict[object, set[object]]:
    found: dict[object, set[object]] = {}
    for unit, split in zip(images.column("unit_id"), images.column("split"), strict=True):
        found.setdefault(unit, set()).add(split)
    return found


@given(st.integers(0, 10_000))
def test_no_unit_is_shared_and_shares_are_exact_within_each_class(seed: int) -> None:
    images = instance_splits(units_of_one_class(), SHARES, rng=Randomness(seed))
    assert all(len(side) == 1 for side in sides(images).values())
    splits = np.array(images.column("split"))
    for label in range(4):
        counts = [int((splits[images.labels == label] == split).sum()) // 3 for split in SHARES]
        assert counts == [35, 5, 10]


def test_splits_ignore_order_and_differ_by_seed() -> None:
    images = units_of_one_class()
    divided, moved = (instance_splits(one, SHARES, rng=RNG) for one in (images, shuffled(images)))
    assert dict(zip(moved.ids, moved.column("split"), strict=True)) == dict(
        zip(divided.ids, divided.column("split"), strict=True)
    )
    assert instance_splits(images, SHARES, rng=Randomness(9)).column("split") != divided.column("split")


def test_images_without_units_are_their_own_and_labels_may_be_hidden() -> None:
    images = labelled_set(10, size=1)
    table = set_column(images.table, "unit_id", pa.array(["000004"] * 4 + [None] * 6))
    divided = instance_splits(replace(images, table=table).unlabelled(), {"train": 0.5, "test": 0.5}, rng=RNG)
    assert len(set(divided.column("split")[:4])) == 1
    assert divided.split is None
    assert divided.of_split("train").split == "train"


def test_few_units_of_many_classes_still_fill_the_small_split() -> None:
    images = units_of_one_class(units=100, classes=50)  # two units of each class, and a share of a fifth
    tests = sum(
        side == {"test"} for side in sides(instance_splits(images, {"train": 0.8, "test": 0.2}, rng=RNG)).values()
    )
    assert 10 <= tests <= 31


def test_leaks_are_as_many_as_stated_and_the_truth_says_where() -> None:
    images = units_of_one_class(units=400, each=4)
    leaky = leaky_splits(images, {"train": 0.5, "test": 0.5}, rng=RNG, leak=0.6)
    on_both = {unit for unit, side in sides(leaky).items() if len(side) > 1}
    expected = 0.6 * (1 - 2 * 0.5**4)
    assert abs(len(on_both) / 400 - expected) < 5 * np.sqrt(expected * (1 - expected) / 400)
    for unit, said in zip(leaky.column("unit_id"), planted_of(leaky, "leaky_splits"), strict=True):
        assert said == ({"unit_in": ["train", "test"]} if unit in on_both else None)
    clean = leaky_splits(images, {"train": 0.5, "test": 0.5}, rng=RNG, leak=0)
    assert all(len(side) == 1 for side in sides(clean).values())


def test_a_leaky_unit_is_dealt_the_same_in_any_company() -> None:
    images = units_of_one_class()
    whole = leaky_splits(images, SHARES, rng=RNG)
    part = leaky_splits(images.select(range(300, 600)), SHARES, rng=RNG)
    assert part.column("split") == whole.column("split")[300:]
    assert part.column("planted") == whole.column("planted")[300:]


def test_refused() -> None:
    images = units_of_one_class(units=2)
    for shares in ({"train": 0.5}, {"train": 1.5, "test": -0.5}, {"train": 0.5, "validation": 0.5}, {}):
        with pytest.raises(InputError, match="must be at least 0 and sum to 1"):
            instance_splits(images, shares, rng=RNG)
    with pytest.raises(InputError, match="too few units in noise: nothing is left for val, test"):
        instance_splits(images, SHARES, rng=RNG)
    with pytest.raises(InputError, match=r"probability in \[0, 1\], got 1.5"):
        leaky_splits(images, SHARES, rng=RNG, leak=1.5)


def test_copies_stay_with_their_originals() -> None:
    images = Scenes(count=60, captions=False).images(split="train")
    copied = NearDuplicates(rate=0.5).plant(images, rng=Randomness(0))
    divided = instance_splits(copied, {"train": 0.5, "test": 0.5}, rng=Randomness(1))
    side = dict(zip(divided.ids, divided.column("split"), strict=True))
    sources = [Provenance.model_validate_json(str(text)).source_id for text in divided.column("provenance")]
    pairs = [(one, source) for one, source in zip(divided.ids, sources, strict=True) if source is not None]
    assert len(pairs) > 15
    assert all(side[one] == side[source] for one, source in pairs)
