"""Images that are left out: imbalance, missing combinations and hidden subgroups."""

from __future__ import annotations

import json

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.randomness import Randomness
from snellen.data.worlds.optotypes.scenes import Scenes
from snellen.data.worlds.planting.selections import HiddenSubgroup, Imbalance, MissingCombinations
from snellen.data.worlds.planting.truth import planted_of, true_labels
from tests.data.worlds.planting.labelled_sets import labelled_set, rows, shuffled

IMAGES, RNG = labelled_set(1000, size=2), Randomness(6)


def colours(images: ImageSet) -> np.ndarray:
    return np.array([json.loads(str(text))["colour"] for text in images.column("attributes")])


def test_exponential_and_step_profiles() -> None:
    exponential = Imbalance(ratio=16).plant(IMAGES, rng=RNG)
    assert np.bincount(exponential.labels).tolist() == [200, 100, 50, 25, 12]
    step = Imbalance(ratio=10, profile="step").plant(IMAGES, rng=RNG)
    assert np.bincount(step.labels).tolist() == [200, 200, 200, 20, 20]
    ordered = Imbalance(ratio=16, order=(4, 0, 3, 1, 2)).plant(IMAGES, rng=RNG)
    assert np.bincount(ordered.labels).tolist() == [100, 25, 12, 50, 200]
    assert np.bincount(Imbalance(ratio=1e6).plant(IMAGES, rng=RNG).labels).min() == 1
    assert planted_of(exponential, "imbalance")[:3] == [
        {"kept_share": 16 ** -(label / 4)} for label in exponential.labels[:3]
    ]


def test_fewer_are_part_of_more_and_order_does_not_matter() -> None:
    few, many = (Imbalance(ratio=ratio).plant(IMAGES, rng=RNG) for ratio in (50, 5))
    assert set(few.ids) < set(many.ids)
    assert few.ids == sorted(few.ids)
    assert rows(Imbalance(ratio=5).plant(shuffled(IMAGES), rng=RNG)) == rows(many)


def test_images_without_labels_and_test_images_stay() -> None:
    table = IMAGES.table.set_column(IMAGES.table.column_names.index("split"), "split", [["train", "test"] * 500])
    mixed = ImageSet(IMAGES.source, table, IMAGES.class_names)
    kept = Imbalance(ratio=100).plant(mixed, rng=RNG)
    assert kept.column("split").count("test") == 500
    assert np.bincount(kept.labels[np.array(kept.column("split")) == "train"]).tolist() == [100, 32, 10, 3, 1]


def test_missing_combinations_are_all_and_only_those() -> None:
    gone = MissingCombinations(combinations=({"colour": "red"}, {"colour": ("blue",), "objects.0.size": "small"}))
    kept = gone.plant(IMAGES, rng=RNG)
    assert set(colours(kept)) == {"green"}
    assert kept.ids == [one for one, colour in zip(IMAGES.ids, colours(IMAGES), strict=True) if colour == "green"]
    whole = rows(kept)
    part = IMAGES.select(range(0, 1000, 7))
    assert rows(gone.plant(part, rng=RNG)) == {one: whole[one] for one in part.ids if one in whole}
    with pytest.raises(InputError, match="nothing would stay"):
        MissingCombinations(combinations=({"colour": ("red", "green", "blue")},)).plant(IMAGES, rng=RNG)


def test_labels_of_a_subgroup_are_wrong_and_no_column_tells() -> None:
    defect = HiddenSubgroup(members={"colour": "red"}, rate=0.7)
    planted = defect.plant(IMAGES, rng=RNG)
    red, wrong = colours(IMAGES) == "red", planted.labels != IMAGES.labels
    assert not wrong[~red].any()
    assert abs(wrong[red].mean() - 0.7) < 5 * np.sqrt(0.21 / red.sum())
    for member, bad, said in zip(red, wrong, planted_of(planted, "hidden_subgroup"), strict=True):
        assert said == ({"member": True, "wrong_label": bool(bad)} if member else None)
    assert true_labels(planted).tolist() == IMAGES.labels.tolist()
    assert "group" not in planted.table.column_names
    part = IMAGES.select(range(0, 1000, 7))
    whole = rows(planted)
    assert rows(defect.plant(part, rng=RNG)) == {one: whole[one] for one in part.ids}


def test_a_rare_subgroup() -> None:
    planted = HiddenSubgroup(members={"colour": "red"}, how="rare", rate=0.9).plant(IMAGES, rng=RNG)
    before, after = colours(IMAGES), colours(planted)
    assert (after != "red").sum() == (before != "red").sum()
    count = int((before == "red").sum())
    assert abs(int((after == "red").sum()) - 0.1 * count) < 5 * np.sqrt(0.09 * count)
    assert [entry is not None for entry in planted_of(planted, "hidden_subgroup")] == (after == "red").tolist()


def test_refused() -> None:
    for order in ((0, 1), (0, 1, 2, 3, 3), (0, 1, 2, 3, 5)):
        with pytest.raises(InputError, match=r"each of the classes 0 … 4 once"):
            Imbalance(order=order).plant(IMAGES, rng=RNG)
    with pytest.raises(InputError, match=r"no image of noise within reach meets \{'colour': 'pink'\}"):
        HiddenSubgroup(members={"colour": "pink"}).plant(IMAGES, rng=RNG)
    with pytest.raises(InputError, match="2 classes at least"):
        HiddenSubgroup(members={"colour": "red"}).plant(labelled_set(40, classes=1), rng=RNG)
    with pytest.raises(ValueError, match="members"):
        HiddenSubgroup(members={})
    with pytest.raises(ValueError, match="combinations"):
        MissingCombinations(combinations=())


def test_combinations_that_no_image_has_are_reported() -> None:
    with pytest.raises(InputError, match="is a value misspelt"):
        MissingCombinations(combinations=({"background": "nigth"},)).plant(
            Scenes(count=5, captions=False).images(split="train"), rng=Randomness(0)
        )
