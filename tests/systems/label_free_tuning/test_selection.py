"""The surest images of each class."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from snellen.core.errors import InputError, ModelError
from snellen.systems.label_free_tuning.selection import (
    CollapsedClassesWarning,
    FewImagesWarning,
    Selected,
    images_per_class,
    select_topk,
    tell_collapse,
    tell_few_images,
)


def drawn(count: int, classes: int, seed: int) -> Tensor:
    return torch.randn(count, classes, generator=torch.Generator().manual_seed(seed)).mul(3).softmax(1)


def by_hand(probabilities: Tensor, k: int) -> dict[int, set[int]]:
    """The published rule in plain loops, where every class is the likeliest of some image."""
    found = {}
    for number in range(probabilities.shape[1]):
        own = [row for row in range(len(probabilities)) if int(probabilities[row].argmax()) == number]
        found[number] = set(sorted(own, key=lambda row: -float(probabilities[row, number]))[:k])
    return found


@pytest.mark.covers("35.3")
@given(st.integers(0, 200), st.integers(1, 9))
def test_each_class_gets_its_own_surest_images(seed: int, k: int) -> None:
    probabilities = drawn(60, 4, seed)
    found = select_topk(probabilities, k)
    expected = by_hand(probabilities, k)
    for number, rows in expected.items():
        assert set(found.positions[found.labels == number].tolist()) == rows
    assert (found.choices == 1).all()
    assert torch.equal(found.confidences, probabilities[found.positions, found.labels])


@pytest.mark.covers("35.3")
def test_the_choice_is_by_class_and_not_over_all_classes() -> None:
    sure = torch.tensor([[0.9, 0.1]]).repeat(50, 1)
    unsure = torch.tensor([[0.45, 0.55]]).repeat(3, 1)
    found = select_topk(torch.cat([sure, unsure]), 3)
    assert found.counts.tolist() == [3, 3], "the six surest of all would be of the first class alone"


@pytest.mark.covers("35.3")
@given(st.integers(0, 300), st.integers(1, 30))
def test_no_class_is_left_without_an_image_and_no_image_serves_twice(seed: int, k: int) -> None:
    probabilities = drawn(40, 5, seed)
    probabilities[:, 4] *= 0.3  # seldom or never the likeliest
    try:
        found = select_topk(probabilities, k, fallback_depth=5)
    except ModelError:
        raise AssertionError("with all choices looked at, forty images leave one for each of five classes") from None
    assert (found.counts >= 1).all()
    assert len(set(found.positions.tolist())) == len(found.positions)
    assert (found.counts <= k).all()


@pytest.mark.covers("35.3")
def test_a_class_that_no_image_shows_first_falls_back_to_its_second_choices_with_their_own_confidence() -> None:
    probabilities = torch.tensor(
        [[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.5, 0.1, 0.4], [0.1, 0.5, 0.4], [0.1, 0.6, 0.3], [0.2, 0.7, 0.1]]
    )
    found = select_topk(probabilities, 2)
    of_last = found.labels == 2
    assert found.likeliest.tolist() == [3, 3, 0]
    assert found.positions[of_last].tolist() == [2, 3], "second choices that no other class has chosen"
    assert found.confidences[of_last].tolist() == pytest.approx([0.4, 0.4]), "of this class, not of the first choice"
    assert found.choices[of_last].tolist() == [2, 2]
    report = found.report(["a", "b", "c"])
    assert report["c"] == {"chosen": 2, "likeliest": 0, "choice": 2, "least_confidence": 0.4}
    assert report["a"] == {"chosen": 2, "likeliest": 3, "choice": 1, "least_confidence": 0.6}


def test_third_choices_come_after_second_ones_and_one_is_taken_from_a_class_that_has_more() -> None:
    third = torch.tensor([[0.6, 0.3, 0.1], [0.3, 0.6, 0.1], [0.5, 0.4, 0.1], [0.4, 0.5, 0.1]])
    found = select_topk(third, 1)
    assert found.choices[found.labels == 2].tolist() == [3]
    taken = torch.tensor([[0.6, 0.1, 0.3], [0.7, 0.1, 0.2], [0.2, 0.7, 0.1]])
    found = select_topk(taken, 2)
    assert found.positions[found.labels == 2].tolist() == [0], "all are chosen, and the first class has two"
    assert found.counts.tolist() == [1, 1, 1]


def test_a_class_that_is_nobodys_choice_is_an_error() -> None:
    probabilities = torch.tensor([[0.6, 0.2, 0.15, 0.05], [0.2, 0.6, 0.15, 0.05], [0.2, 0.2, 0.55, 0.05]])
    with pytest.raises(ModelError, match="class number 3 is among the first 3 choices of no image"):
        select_topk(probabilities, 2)
    with pytest.raises(ModelError, match=r"class 'd' is among .*the collection does not show it"):
        select_topk(probabilities, 2, class_names=["a", "b", "c", "d"])
    with pytest.raises(ModelError, match="the collection does not show it"):
        select_topk(probabilities[:1], 2)


def test_how_many() -> None:
    assert images_per_class(50_000, 10, share=0.2) == 512
    assert images_per_class(50_000, 10, share=0.2, most=10_000) == 1000
    assert images_per_class(2700, 10, share=0.05) == 16
    assert images_per_class(2700, 10, share=0.5) == 135
    for wrong in ({"share": 0.0}, {"share": 1.5}, {"least": 0}, {"least": 20, "most": 10}):
        with pytest.raises(InputError, match="expected images"):
            images_per_class(100, 5, **wrong)  # type: ignore[arg-type]


def test_collapse_and_few_images_are_reported() -> None:
    probabilities = torch.tensor([[0.9, 0.06, 0.04]]).repeat(40, 1)
    probabilities[0] = torch.tensor([0.1, 0.8, 0.1])
    found = select_topk(probabilities, 16)
    with pytest.warns(CollapsedClassesWarning, match=r"2 of 3 classes .* \(b, c\), 1 of them of none"):
        assert tell_collapse(found, ["a", "b", "c"], 16) == ("b", "c")
    with pytest.warns(FewImagesWarning, match="40 images for 3 classes"):
        tell_few_images(40, 3, 16)
    tell_few_images(48, 3, 16)
    healthy = Selected(*(torch.zeros(0, dtype=torch.int64),) * 4, likeliest=torch.tensor([9, 9]))
    assert tell_collapse(healthy, ["a", "b"], 16) == ()


def test_what_cannot_be_chosen_from_is_refused() -> None:
    for wrong, said in (
        (torch.zeros(0, 3), "0, 3"),
        (torch.zeros(3), "3,"),
        (torch.full((2, 2), float("nan")), "4 of"),
    ):
        with pytest.raises(InputError, match=f"finite numbers .*{said}"):
            select_topk(wrong, 1)
    with pytest.raises(InputError, match="at least 1"):
        select_topk(torch.ones(2, 2), 0)
