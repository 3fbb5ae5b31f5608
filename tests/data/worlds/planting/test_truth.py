"""Truth in columns: what is kept, what is joined, and what may not be written twice."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from snellen.core.errors import InputError, LabelsHiddenError
from snellen.data.files.joining import join
from snellen.data.worlds.planting.truth import planted_of, set_column, true_labels, with_truth
from tests.data.worlds.planting.labelled_sets import labelled_set

IMAGES = labelled_set(4, classes=3)


def test_the_first_label_is_kept_through_several_defects() -> None:
    once = with_truth(IMAGES, "a", [{"x": 1}, None, None, None], labels=np.array([2, 1, 2, 0]))
    twice = with_truth(once, "b", [{"y": "z"}, {"y": "w"}, None, None], labels=np.array([1, 0, 2, 0]))
    assert twice.labels.tolist() == [1, 0, 2, 0]
    assert true_labels(twice).tolist() == true_labels(IMAGES).tolist() == [0, 1, 2, 0]
    assert [json.loads(one) for one in twice.column("planted")] == [
        {"a": {"x": 1}, "b": {"y": "z"}},
        {"b": {"y": "w"}},
        {},
        {},
    ]
    assert planted_of(twice, "a") == [{"x": 1}, None, None, None]
    assert planted_of(IMAGES, "a") == [None] * 4
    assert "true_label" not in IMAGES.table.column_names


def test_unknown_labels_stay_unknown() -> None:
    known = with_truth(IMAGES, "a", [None] * 4, labels=np.array([0, -1, 2, -1]))
    assert known.column("label") == [0, None, 2, None]
    again = with_truth(known, "b", [None] * 4, labels=np.array([0, -1, 1, -1]))
    assert true_labels(again).tolist() == [0, 1, 2, 0]


def test_groups_of_several_defects_are_joined() -> None:
    once = with_truth(IMAGES, "a", [None] * 4, groups=["aligned", None, "conflicting", None])
    twice = with_truth(once, "b", [None] * 4, groups=["aligned", "conflicting", None, None])
    assert twice.column("group") == ["aligned / aligned", "conflicting", "conflicting", None]


def test_the_same_defect_twice_is_refused_for_a_row() -> None:
    once = with_truth(IMAGES, "a", [{"x": 1}, None, None, None])
    assert planted_of(with_truth(once, "a", [None, {"x": 2}, None, None]), "a")[1] == {"x": 2}
    with pytest.raises(InputError, match=r"'a' is planted already \(image '000000'\).*key='a_2'"):
        with_truth(once, "a", [{"x": 2}, None, None, None])


def test_a_label_free_view_hides_the_truth_too() -> None:
    hidden = with_truth(IMAGES, "a", [None] * 4, labels=np.array([2, 1, 2, 0])).unlabelled()
    with pytest.raises(LabelsHiddenError):
        true_labels(hidden)
    with pytest.raises(LabelsHiddenError):
        hidden.column("true_label")


def test_beside_a_part_with_a_defect_an_untouched_one_keeps_its_labels_as_the_truth() -> None:
    planted = with_truth(IMAGES, "a", [{"x": 1}, None, None, None], labels=np.array([2, 1, 2, 0]))
    other = labelled_set(3, classes=3)
    other = replace(other, table=set_column(other.table, "id", pa.array(["x", "y", "z"])))
    assert true_labels(join([planted, other])).tolist() == [0, 1, 2, 0, *other.labels.tolist()]
