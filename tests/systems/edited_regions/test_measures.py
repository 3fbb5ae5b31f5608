"""Figures of one confusion matrix, against counts by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from snellen.core.errors import InputError
from snellen.systems.edited_regions.measures import (
    area_histogram,
    area_recall,
    best_threshold,
    binary,
    boundary_counts,
    boundary_f,
    class_iou,
    confusion,
    localised,
)

LABELS = arrays(np.uint8, (5, 6), elements=st.sampled_from([0, 1, 2, 3, 255]))
FOUND = arrays(np.uint8, (5, 6), elements=st.integers(0, 3))


@given(LABELS, FOUND)
def test_the_matrix_counts_every_judged_pixel_once(truth, found):
    matrix = confusion(truth, found, 4)
    assert matrix.sum() == (truth != 255).sum()
    for label in range(4):
        for other in range(4):
            assert matrix[label, other] == ((truth == label) & (found == other)).sum()
    two = np.array([[((truth == 0) & (found == 0)).sum(), ((truth == 0) & (found > 0)).sum()]])
    assert (binary(matrix)[:1] == two).all()


@pytest.mark.covers("22.7")
def test_figures_are_of_all_pixels_and_not_means_over_images():
    # One image of a single edited pixel that is missed, and one of many that are found.
    small, large = np.zeros((4, 4), np.uint8), np.ones((4, 4), np.uint8)
    small[0, 0] = 1
    matrix = confusion(small, np.zeros_like(small), 2) + confusion(large, large, 2)
    assert localised(matrix).iou == pytest.approx(16 / 17)
    assert localised(matrix).iou != pytest.approx((0 + 1) / 2)


@pytest.mark.covers("22.7")
def test_a_class_that_the_split_lacks_is_left_out_of_means():
    truth = np.array([[0, 0, 1, 1]], np.uint8)
    found = np.array([[0, 0, 1, 2]], np.uint8)
    matrix = confusion(truth, found, 4)
    each = class_iou(matrix)
    assert np.isnan(each[2:]).all(), "label 2 was predicted, but the split has no pixel of it"
    figures = localised(matrix)
    assert figures.semantic_miou == pytest.approx((1 + 0.5) / 2)
    assert figures.editor_miou == pytest.approx(0.5)
    assert figures.iou == 1
    assert figures.attribution == 0.5


def test_a_split_without_edits_has_no_binary_iou():
    clean = np.zeros((3, 3), np.uint8)
    figures = localised(confusion(clean, clean, 3))
    assert np.isnan(figures.iou)
    assert np.isnan(figures.attribution)
    assert figures.binary_miou == 1
    assert figures.false_edits == 0


def test_labels_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="labels are 0 to 2"):
        confusion(np.array([[3]], np.uint8), np.array([[0]], np.uint8), 3)
    with pytest.raises(InputError, match="differ in shape"):
        confusion(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8), 2)


def test_an_edge_may_be_off_by_three_pixels():
    truth = np.zeros((32, 32), np.uint8)
    truth[8:20, 8:20] = 2
    assert boundary_f(boundary_counts(truth, truth)) == 1
    near, far = np.roll(truth, 3, 1), np.roll(truth, 9, 1)
    assert boundary_f(boundary_counts(truth, near)) == 1
    assert boundary_f(boundary_counts(truth, far)) < 0.8
    assert boundary_f(boundary_counts(truth, np.zeros_like(truth))) == 0
    assert np.isnan(boundary_f(boundary_counts(np.zeros_like(truth), truth)))


@pytest.mark.covers("22.11")
def test_areas_fall_into_bins_and_recall_is_by_area():
    assert sum(area_histogram([0.001, 0.01, 0.3, 1.0]).values()) == 4
    assert area_histogram([0.01])["0 to 0.01"] == 1
    assert area_histogram([]) == dict.fromkeys(area_histogram([0.5]), 0)
    assert area_recall([(0.005, 0.0), (0.3, 1.0)]) == {"0 to 0.01": 0.0, "0.2 to 0.5": 1.0}


def test_the_threshold_is_chosen_on_both_kinds():
    scores, edited = np.array([0.0, 0.02, 0.01, 0.4, 0.3]), np.array([False, False, False, True, True])
    assert best_threshold(scores, edited) == 0.3
    assert best_threshold(np.zeros(5), edited) == np.inf, "nothing beats to call nothing"
    assert best_threshold(1 - scores, edited) == np.inf
    with pytest.raises(InputError, match="2 edited of 2"):
        best_threshold(np.array([0.1, 0.2]), np.array([True, True]))
