"""Image sets: ids, labels, selections, splits, label-free views, fingerprints."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from snellen.core.errors import InputError, LabelsHiddenError, RejectedImageError
from snellen.core.images import COLUMNS, ImageSet, Provenance, Split


class Source:
    """Grey squares; a negative value is rejected."""

    def __init__(self, values: Sequence[int]) -> None:
        self.values = list(values)

    def read(self, index: int) -> Image.Image:
        if self.values[index] < 0:
            raise RejectedImageError("broken")
        return Image.new("RGB", (2, 2), (self.values[index],) * 3)

    def content_hash(self, index: int) -> str:
        return hashlib.sha256(str(self.values[index]).encode()).hexdigest()


def make(
    ids: Sequence[str] = ("a", "b", "c", "d"),
    labels: Sequence[int | None] | None = (0, 1, None, 2),
    *,
    class_names: tuple[str, ...] | None = ("cat", "dog", "bird"),
    splits: Sequence[str | None] | None = None,
    split: Split | None = None,
    values: Sequence[int] | None = None,
    **columns: Sequence[object],
) -> ImageSet:
    told: dict[str, pa.Array] = {"id": pa.array(ids, COLUMNS["id"])}
    if labels is not None:
        told["label"] = pa.array(labels, COLUMNS["label"])
    if splits is not None:
        told["split"] = pa.array(splits, COLUMNS["split"])
    told |= {name: pa.array(column, COLUMNS.get(name)) for name, column in columns.items()}
    source = Source(range(len(ids)) if values is None else values)
    return ImageSet(source, pa.table(told), class_names, "pets", split=split)


def test_examples_carry_what_is_known() -> None:
    images = make(values=[10, 20, 30, 40])
    assert (len(images), images.ids) == (4, ["a", "b", "c", "d"])
    assert images.labels.dtype == np.int64
    assert images.labels.tolist() == [0, 1, -1, 2]
    example = images[1]
    assert (example.id, example.label, example.image.getpixel((0, 0))) == ("b", 1, (20, 20, 20))
    assert [each.label for each in images] == [0, 1, None, 2]
    assert [each.id for each in images] == images.ids
    assert repr(images) == "ImageSet('pets', 4 images, 3 classes, split=None)"


def test_a_bad_image_is_rejected_when_it_is_read() -> None:
    images = make(values=[1, -1, 2, 3])
    with pytest.raises(RejectedImageError, match="broken"):
        images.read(1)
    assert len(images.content_hash(1)) == 64
    assert images[0].id == "a"


def test_sets_without_labels() -> None:
    for images in (make(labels=None, class_names=None), make(labels=[None] * 4), make(class_names=None)):
        assert not images.has_labels
    assert make(labels=None, class_names=None).labels.tolist() == [-1] * 4
    assert "no labels" in repr(make(labels=None, class_names=None))
    assert make().has_labels


# -- what cannot be an image set ---------------------------------------------------------------------------------------


def test_ids_are_required_and_unique() -> None:
    with pytest.raises(InputError, match=r"needs a column 'id'; got label"):
        ImageSet(Source([1]), pa.table({"label": [0]}))
    with pytest.raises(InputError, match=r"ids must be unique; 'b' occurs twice in pets"):
        make(["a", "b", "b", "c"])


@pytest.mark.parametrize("label", [3, -2])
def test_labels_must_be_classes(label: int) -> None:
    with pytest.raises(InputError, match=rf"label {label} of image 'b' is out of range for 3 class names"):
        make(labels=[0, label, 1, 2])


def test_minus_one_means_unknown() -> None:
    assert make(labels=[-1, 0, 1, 2])[0].label is None


# -- selections --------------------------------------------------------------------------------------------------------


def test_selections_keep_ids_labels_and_pixels_together() -> None:
    images = make(values=[10, 20, 30, 40])
    chosen = images.select([3, 0], name="two")
    assert (chosen.ids, chosen.labels.tolist(), chosen.name) == (["d", "a"], [2, 0], "two")
    assert chosen.read(0).getpixel((0, 0)) == (40, 40, 40)
    again = chosen.select(np.array([1]))
    assert (again.ids, again.read(0).getpixel((0, 0)), again.name) == (["a"], (10, 10, 10), "two")
    assert again.content_hash(0) == images.content_hash(0)
    assert images.ids == ["a", "b", "c", "d"]
    assert len(images.select([])) == 0


def test_limit_draws_by_seed_and_keeps_the_order() -> None:
    images = make([f"{number:03d}" for number in range(200)], [0] * 200)
    first = images.limit(20, seed=3)
    assert len(first) == 20
    assert first.ids == sorted(first.ids)
    assert first.ids == images.limit(20, seed=3).ids
    assert first.ids != images.limit(20, seed=4).ids
    assert images.limit(200) is images
    assert max(int(key) for key in first.ids) > 100  # not merely the first ones
    with pytest.raises(InputError, match="at least 1, got 0"):
        images.limit(0)


def test_columns_are_values_and_missing_ones_are_none() -> None:
    images = make(group=["x", None, "y", "x"], camera=["p", "q", "r", "s"])
    assert images.column("group") == ["x", None, "y", "x"]
    assert images.select([2]).column("camera") == ["r"]
    assert images.column("unit_id") == [None] * 4


# -- splits ------------------------------------------------------------------------------------------------------------


def test_splits_are_typed() -> None:
    images = make(splits=["train", "test", "val", "train"])
    train = images.of_split("train")
    assert (train.ids, train.split) == (["a", "d"], "train")
    assert images.of_split("val").labels.tolist() == [-1]
    with pytest.raises(InputError, match=r"pets has no images of split 'test'; it has: train"):
        make(splits=["train", "train", None, None]).of_split("test")
    with pytest.raises(InputError, match="it has: none"):
        make().of_split("train")


def test_nothing_is_fitted_to_a_test_set() -> None:
    images = make(splits=["train", "test", "val", "train"])
    for forbidden in (images, images.of_split("test"), make(split="test")):
        with pytest.raises(InputError, match="holds test images: nothing may be fitted"):
            forbidden.for_fitting()
    assert images.of_split("train").for_fitting().ids == ["a", "d"]
    assert images.of_split("val").for_fitting().split == "val"
    unknown = make()
    assert unknown.for_fitting() is unknown


# -- label-free views --------------------------------------------------------------------------------------------------


def test_a_label_free_view_raises_when_labels_are_touched() -> None:
    hidden = make(labels=[0, 1, 1, 2]).unlabelled()
    for touch in (lambda: hidden.labels, lambda: hidden.column("label"), lambda: hidden.column("labels")):
        with pytest.raises(LabelsHiddenError, match="a label-free method touched the labels"):
            touch()
    for still in (hidden.select([0, 1]), hidden.limit(2)):
        with pytest.raises(LabelsHiddenError):
            _ = still.labels
    assert hidden[1].label is None
    assert [example.label for example in hidden] == [None] * 4
    assert hidden.ids == ["a", "b", "c", "d"]
    assert "no labels" in repr(hidden)


def test_a_label_free_view_has_the_fingerprint_of_its_set() -> None:
    assert make().unlabelled().fingerprint() == make().fingerprint()


# -- fingerprints ------------------------------------------------------------------------------------------------------

CHANGES: dict[str, ImageSet] = {
    "a label": make(labels=[0, 1, None, 1]),
    "a label that becomes known": make(labels=[0, 1, 0, 2]),
    "a pixel": make(values=[0, 1, 2, 9]),
    "an id": make(["a", "b", "c", "e"]),
    "a class name": make(class_names=("cat", "dog", "owl")),
    "the order": make().select([1, 0, 2, 3]),
    "one image less": make().select([0, 1, 2]),
    "where ids end": make(["a", "b", "c", "d\0"]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_fingerprint_changes_with(change: str) -> None:
    assert CHANGES[change].fingerprint() != make().fingerprint()


def test_fingerprint_does_not_change_with_the_name_or_the_way_of_selecting() -> None:
    assert make().fingerprint() == make().select([0, 1, 2, 3], name="other").fingerprint()
    assert make().fingerprint() == make().select([3, 2, 1, 0]).select([3, 2, 1, 0]).fingerprint()


@pytest.mark.parametrize(
    ("rows", "class_names", "expected"),
    [
        ([[0, 1], None, [1, None], [-1, 0]], ("cat", "dog"), [[0, 1], [-1, -1], [1, -1], [-1, 0]]),
        ([None] * 4, ("cat", "dog"), [[-1, -1]] * 4),
        ([None] * 4, None, [[]] * 4),
        (None, ("cat", "dog"), [[-1, -1]] * 4),
    ],
)
def test_label_sets_are_unknown_where_there_are_none(rows, class_names, expected) -> None:
    images = make(labels=None, class_names=class_names)
    if rows is not None:
        images = replace(images, table=images.table.append_column("labels", pa.array(rows, COLUMNS["labels"])))
    assert images.label_sets.tolist() == expected
    assert images.select([3, 0]).label_sets.tolist() == [expected[3], expected[0]]
    with pytest.raises(LabelsHiddenError):
        _ = images.unlabelled().label_sets


# -- provenance --------------------------------------------------------------------------------------------------------


def test_provenance_is_frozen_and_checked() -> None:
    made = Provenance(origin="generated", generator="sd", seed=3)
    assert Provenance.model_validate_json(made.model_dump_json()) == made
    assert Provenance().origin == "real"
    with pytest.raises(ValueError, match="frozen"):
        made.seed = 4  # type: ignore[misc]
    with pytest.raises(ValueError, match="Extra inputs"):
        Provenance(maker="x")  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="origin"):
        Provenance(origin="dreamt")  # type: ignore[arg-type]
