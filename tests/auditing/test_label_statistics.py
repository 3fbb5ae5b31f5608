"""Intervals and hypotheses of several labels an image, where chance alone decides and where nothing varies."""

from __future__ import annotations

import json
import shlex

import numpy as np
import pyarrow as pa
import pytest

from snellen.auditing.checks.labels import Labels
from snellen.auditing.label_figures import OF_EACH, OVERALL, measured
from snellen.auditing.label_hypotheses import fitted_threshold, found_more_rarely, other_threshold
from snellen.checks.label_sets import DECISIONS, LABELS, LabelSets
from snellen.checks.per_image import PerImage

NAMES = ("effusion", "edema", "mass")


def all_right(count: int) -> LabelSets:
    labels = (np.random.default_rng(0).random((count, 3)) < 0.3).astype(np.int8)
    return LabelSets(labels, labels.copy(), np.where(labels == 1, 2.0, -2.0))


@pytest.mark.parametrize("figure", [*OVERALL, *(f"of each {name}" for name in OF_EACH if name != "prevalence")])
def test_no_interval_shrinks_to_a_point_where_all_images_are_right(figure: str) -> None:
    name = figure.removeprefix("of each ")
    place = 1 if figure.startswith("of each ") else None
    few, many = (measured(name, all_right(count), None, 0, place) for count in (40, 400))
    assert few is not None
    assert many is not None
    assert few.value == many.value == few.high == 1.0
    assert 0.5 < few.low < many.low < 0.9999
    pairs = measured(name, all_right(400), np.arange(400) // 10, 0, place)
    assert pairs is not None
    assert pairs.low < many.low - 1e-6


@pytest.mark.parametrize("figure", ["f1", "balanced_accuracy"])
def test_intervals_hold_the_truth_as_often_as_they_say(figure: str) -> None:
    """A label that half of its images are given, and a tenth of the others, in 200 images."""
    truth = {"f1": 2 * 0.15 / (2 * 0.15 + 0.07 + 0.15), "balanced_accuracy": 0.7}
    rng, held = np.random.default_rng(3), 0
    for _ in range(300):
        labels = (rng.random((200, 1)) < 0.3).astype(np.int8)
        given = (rng.random((200, 1)) < np.where(labels == 1, 0.5, 0.1)).astype(np.int8)
        found = measured(figure, LabelSets(labels, given, None), None, 0, 0)
        assert found is not None
        held += found.low <= truth[figure] <= found.high
    assert 0.92 <= held / 300 <= 0.985


def test_a_label_of_ten_images_that_chance_misses_is_not_accused() -> None:
    """All labels are found in three of ten images; one has ten images, and all are missed in one set of 35."""
    labels = np.zeros((610, 3), dtype=np.int8)
    labels[:300, 0] = labels[300:600, 1] = labels[600:, 2] = 1
    decisions = np.zeros_like(labels)
    decisions[:90, 0] = decisions[300:390, 1] = 1
    sets = LabelSets(labels, decisions, None)
    none = np.full(610, -1)
    known = PerImage(tuple(map(str, range(610))), none, none, None, tuple(map(str, range(610))), sets=sets)
    found = found_more_rarely(known, sets, 2, NAMES, [0, 1], seed=0, examples=0)
    assert found is not None
    assert 0.01 < found.p_value < 0.1
    # The same of a hundred images is no chance, and the harm is no more than their share.
    labels[510:600, 2] = 1
    more = found_more_rarely(known, LabelSets(labels, decisions, None), 2, NAMES, [0, 1], seed=0, examples=0)
    assert more is not None
    assert more.p_value < 1e-6
    assert 0 < more.harm(0.95) < 0.3 * 100 / 610


@pytest.mark.parametrize(
    ("shift", "name"), [(9.0, "mass"), (16.0, "mass"), (-9.0, 'Parkinson\'s "sign"'), (60.0, "mass")]
)
def test_the_threshold_that_a_finding_names_is_one_that_its_command_takes(shift: float, name: str) -> None:
    labels = np.arange(200).reshape(-1, 1).astype(np.int8) % 2
    logits = labels * 4.0 - 2 + shift + np.random.default_rng(0).normal(0, 0.5, labels.shape)
    sets, none, ids = (
        LabelSets(labels, (logits > 0).astype(np.int8), logits),
        np.full(200, -1),
        tuple(map(str, range(200))),
    )
    known = PerImage(ids, none, none, None, ids, sets=sets)
    fitted = fitted_threshold(known, sets, None, 0)
    assert fitted is not None
    one = other_threshold(known, sets, 0, name, 0.5, fitted, seed=0)
    assert one is not None
    if shift == 60:
        assert not one.finding(0.1).treatments
        return
    (line,) = one.finding(0.1).treatments
    key, _, value = shlex.split(line.partition("--set ")[2])[0].partition("=")
    assert key == "labels.thresholds"
    chosen = Labels(thresholds=json.loads(value)).thresholds[name]
    assert f"a threshold of {chosen} in place of 0.5" in one.finding(0.1).title
    assert ((logits > np.log(chosen / (1 - chosen))) == (labels == 1)).all()


def test_labels_of_rows_without_a_value_are_unknown() -> None:
    pair = pa.list_(pa.int8(), 2)
    table = pa.table(
        {LABELS: pa.array([[1, 0], None, [0, -1]], pair), DECISIONS: pa.array([[1, 0], None, [0, 1]], pair)}
    )
    found = LabelSets.of(table)
    assert found is not None
    assert found.labels.tolist() == [[1, 0], [-1, -1], [0, -1]]
    assert found.decisions.tolist() == [[1, 0], [0, 0], [0, 1]]
