"""Criteria against a loop over images, and what each does at a tie."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snellen.core.criterion import (
    Criterion,
    Margin,
    Misclassified,
    MultilabelChanged,
    PixelsMisclassified,
    Targeted,
    margin,
)

# Whole numbers: ties occur, and differences are exact.
score = st.integers(-3, 3).map(float)


@st.composite
def scored(draw):
    classes, count = draw(st.integers(2, 5)), draw(st.integers(1, 5))
    row = st.lists(score, min_size=classes, max_size=classes)
    rows = draw(st.lists(row, min_size=count, max_size=count))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=count, max_size=count))
    return rows, labels


@given(scored())
def test_against_a_loop_over_images(problem):
    rows, labels = problem
    scores, reference = torch.tensor(rows), torch.tensor(labels)
    margins = [row[y] - max(v for k, v in enumerate(row) if k != y) for row, y in zip(rows, labels, strict=True)]
    arg_max = [row.index(max(row)) for row in rows]
    assert margin(scores, reference).tolist() == margins
    misclassified = [a != y for a, y in zip(arg_max, labels, strict=True)]
    assert Misclassified().success(scores, reference).tolist() == misclassified
    assert Targeted().success(scores, reference).tolist() == [not wrong for wrong in misclassified]
    assert Margin().success(scores, reference).tolist() == [m < 0 for m in margins]
    assert Margin(confidence=2.0).success(scores, reference).tolist() == [m <= -2 for m in margins]


@given(scored(), st.integers(1, 3))
def test_flips_of_multilabel_decisions(problem, flips):
    rows, _ = problem
    labels = [[int(value < 1) for value in row] for row in rows]
    expected = [
        sum((v > 0) != bool(y) for v, y in zip(row, ys, strict=True)) >= flips
        for row, ys in zip(rows, labels, strict=True)
    ]
    success = MultilabelChanged(flips=flips).success(torch.tensor(rows), torch.tensor(labels))
    assert success.tolist() == expected


@pytest.mark.parametrize(("share", "expected"), [(0.25, [True, True]), (0.5, [False, True]), (0.75, [False, False])])
def test_share_of_misclassified_pixels(share, expected):
    labels = torch.zeros(2, 2, 2, dtype=torch.int64)
    scores = torch.zeros(2, 3, 2, 2)
    scores[:, 0] = 1.0
    scores[0, 2, 0, 0] = 2.0  # one pixel of four is wrong
    scores[1, 1, :, 0] = 2.0  # two are
    success = PixelsMisclassified(share=share).success(scores, labels)
    assert success.dtype == torch.bool
    assert success.tolist() == expected


def test_a_tie_is_no_margin():
    tied, label = torch.tensor([[1.0, 1.0]]), torch.tensor([1])
    assert Misclassified().success(tied, label).tolist() == [True], "the first of equal scores decides"
    assert Margin().success(tied, label).tolist() == [False]


def test_margin_leaves_scores_alone_and_has_a_gradient():
    scores = torch.tensor([[3.0, 1.0, 2.0]], requires_grad=True)
    kept = scores.detach().clone()
    margin(scores, torch.tensor([0])).sum().backward()
    assert torch.equal(scores.detach(), kept)
    assert scores.grad.tolist() == [[1.0, 0.0, -1.0]]


@pytest.mark.parametrize(
    "criterion", [Misclassified(), Targeted(), Margin(), MultilabelChanged(), PixelsMisclassified()]
)
def test_every_criterion_says_which_way_to_climb(criterion):
    assert isinstance(criterion, Criterion)
    assert criterion.direction == (-1 if isinstance(criterion, Targeted) else 1)
    with pytest.raises(AttributeError):
        criterion.direction = 2
