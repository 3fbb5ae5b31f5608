"""Candidate sets and pseudo labels: what is certain never moves, and the rest moves as the formula says."""

from __future__ import annotations

import pytest
import torch

from snellen.systems.multiple_instance.candidate_labels import (
    candidates_of,
    initial_targets,
    masked_scores,
    pseudo_classes,
)
from snellen.systems.multiple_instance.pseudo_labels import (
    inertia,
    moved_targets,
    target_figures,
    with_one_positive,
)


@pytest.mark.covers("36.1", "36.2")
def test_certain_targets_stay_and_uncertain_ones_start_even() -> None:
    labels = torch.tensor([0, 1, 0, 1, 1])
    candidates = candidates_of(labels)
    targets = initial_targets(candidates)
    assert targets[labels == 1].tolist() == [[0.5, 0.5]] * 3
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        scores = torch.rand(5, 2, generator=generator)
        targets = moved_targets(targets, scores, candidates, inertia=0.3)
        assert targets[labels == 0].tolist() == [[1.0, 0.0]] * 2
        torch.testing.assert_close(targets.sum(1), torch.ones(5))
    tampered = torch.full((5, 2), 0.5)
    assert moved_targets(tampered, scores, candidates, inertia=0.9)[labels == 0].tolist() == [[1.0, 0.0]] * 2


@pytest.mark.covers("36.1")
def test_a_negative_bag_has_no_positive_pseudo_class() -> None:
    sure = torch.tensor([[-9.0, 9.0], [-9.0, 9.0]])
    scores = masked_scores(sure, candidates_of(torch.tensor([0, 1])))
    assert pseudo_classes(scores).tolist() == [0, 1]
    assert scores[0, 1] == 0


@pytest.mark.covers("36.4")
def test_one_look_moves_a_target_by_the_share_that_is_not_kept() -> None:
    candidates = candidates_of(torch.tensor([1, 1]))
    moved = moved_targets(initial_targets(candidates), torch.tensor([[0.9, 0.1], [0.4, 0.6]]), candidates, inertia=0.95)
    torch.testing.assert_close(moved, torch.tensor([[0.525, 0.475], [0.475, 0.525]]))


def test_inertia_runs_from_first_to_last() -> None:
    course = [inertia(epoch, 61, first=0.95, last=0.8) for epoch in range(61)]
    assert (course[0], course[-1]) == (0.95, pytest.approx(0.8))
    assert course[30] == pytest.approx(0.875)
    assert inertia(0, 1, first=0.95, last=0.8) == 0.95


def test_enforcing_one_positive_changes_only_bags_without_one() -> None:
    positive = torch.tensor([0.1, 0.4, 0.4, 0.2, 0.7, 0.0, 0.5])
    targets, of_bag = torch.stack([1 - positive, positive], 1), torch.tensor([0, 0, 0, 1, 1, 2, 3])
    changed = with_one_positive(targets, of_bag, torch.tensor([1, 1, 0, 1]))
    assert changed[:, 1].tolist() == pytest.approx([0.1, 1.0, 0.4, 0.2, 0.7, 0.0, 1.0])
    assert targets[1, 1] == pytest.approx(0.4)


def test_what_is_reported_counts_positive_bags_alone() -> None:
    positive = torch.tensor([0.1, 0.4, 0.9, 0.2, 1.0])
    told = target_figures(
        torch.stack([1 - positive, positive], 1), torch.tensor([0, 0, 1, 1, 2]), torch.tensor([1, 1, 0])
    )
    assert told == pytest.approx({"positive_share": 0.25, "bags_with_positive": 0.5, "highest_target": 0.65})
