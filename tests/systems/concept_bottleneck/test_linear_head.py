"""Heads on concept scores: against closed forms and an independent library, and what they refuse."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from snellen.core.errors import InputError
from snellen.systems.concept_bottleneck.linear_head import choose_linear_head, fit_linear_head, standard_of
from snellen.systems.concept_bottleneck.residual_head import choose_residual_head


def problem(count=200, size=6, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randn(count, size, generator=generator) * torch.arange(1, size + 1) + 2
    weight = torch.randn(classes, size, generator=generator)
    labels = (
        ((numbers - 2) / torch.arange(1, size + 1)) @ weight.T + torch.randn(count, classes, generator=generator)
    ).argmax(1)
    return numbers, labels


@pytest.mark.covers("1.6")
def test_statistics_are_those_of_the_training_images_and_of_no_others():
    numbers, labels = problem()
    head = fit_linear_head(numbers, labels, 3, penalty=0.01)
    assert torch.allclose(head.mean, numbers.double().mean(0))
    assert torch.allclose(head.deviation, numbers.double().std(0, correction=0))
    others = numbers[:1] * 100
    alone = head.logits(others)
    assert torch.allclose(alone, head.logits(torch.cat([others, numbers]))[:1])
    assert torch.allclose(alone, (others.double() - head.mean) / head.deviation @ head.weight.T + head.bias)


def test_the_optimum_is_that_of_an_independent_library():
    numbers, labels = problem()
    penalty = 0.03
    head = fit_linear_head(numbers, labels, 3, penalty=penalty)
    standard = ((numbers.double() - head.mean) / head.deviation).numpy()
    other = LogisticRegression(C=1 / (penalty * len(labels)), tol=1e-9, max_iter=2000).fit(standard, labels.numpy())
    assert np.allclose(head.weight.numpy(), other.coef_, atol=1e-4)
    # Biases are free up to what all classes share.
    assert np.allclose(head.bias - head.bias.mean(), other.intercept_ - other.intercept_.mean(), atol=1e-4)


@pytest.mark.covers("1.9")
def test_contributions_and_the_bias_add_up_to_the_logit():
    numbers, labels = problem()
    head = fit_linear_head(numbers, labels, 3, penalty=0.01)
    targets = labels.flip(0)
    total = head.contributions(numbers, targets).sum(1) + head.bias[targets]
    assert torch.allclose(total, head.logits(numbers).gather(1, targets[:, None])[:, 0])


def test_a_constant_score_says_nothing_and_breaks_nothing():
    numbers, labels = problem()
    with_constant = torch.cat([numbers, torch.full((len(numbers), 1), 7.0)], 1)
    head = fit_linear_head(with_constant, labels, 3, penalty=0.01)
    assert head.weight[:, -1].abs().max() < 1e-6
    assert standard_of(with_constant)[1][-1] == 1


@pytest.mark.covers("1.7")
def test_the_penalty_is_chosen_on_the_images_held_back_and_ties_go_to_the_strongest():
    numbers, labels = problem()
    val, val_labels = problem(seed=1)
    found = choose_linear_head(numbers, labels, val, val_labels, 3, penalties=(1e-4, 10.0, 0.1))
    each = {p: fit_linear_head(numbers, labels, 3, penalty=p).accuracy(val, val_labels) for p in (10.0, 0.1, 1e-4)}
    assert found.accuracy == max(each.values())
    assert found.penalty == max(p for p, value in each.items() if value == found.accuracy)
    # Clear classes are told apart at any penalty.
    clear, sides = torch.tensor([[-3.0], [-2.0], [2.0], [3.0]]), torch.tensor([0, 0, 1, 1])
    tied = choose_linear_head(clear, sides, clear, sides, 2, penalties=(0.01, 1.0, 0.1))
    assert (tied.penalty, tied.accuracy) == (1.0, 1.0)
    # Labels held back that contradict the others turn the choice round.
    turned = choose_linear_head(numbers, labels, numbers, (labels + 1) % 3, 3, penalties=(1e-4, 10.0))
    assert turned.penalty == 10.0


def test_a_second_head_learns_what_the_first_leaves_over_and_changes_nothing_of_it():
    numbers, labels = problem()
    scores = numbers[:, :2]
    first = choose_linear_head(scores, labels, scores, labels, 3).head
    kept = first.weight.clone()
    head = choose_residual_head(first, (scores, numbers, labels), (scores, numbers, labels))
    assert torch.equal(first.weight, kept)
    assert torch.allclose(head.logits(scores, numbers), first.logits(scores) + head.residual.logits(numbers))
    right = (head.logits(scores, numbers).argmax(1) == labels).double().mean()
    assert right > first.accuracy(scores, labels) + 0.1


@pytest.mark.covers("1.13")
def test_what_cannot_be_fitted_is_refused():
    numbers, labels = problem()
    broken = numbers.clone()
    broken[3, 4] = torch.nan
    with pytest.raises(InputError, match="numbers of column 4 are not finite"):
        fit_linear_head(broken, labels, 3, penalty=0.1)
    with pytest.raises(InputError, match="labels are numbers from 0 to 1; got 0…2"):
        fit_linear_head(numbers, labels, 2, penalty=0.1)
    with pytest.raises(InputError, match=r"labels \(n,\) of n ≥ 1 images; got \(200, 6\) and \(3,\)"):
        fit_linear_head(numbers, labels[:3], 3, penalty=0.1)
    with pytest.raises(InputError, match="above 0; got 0"):
        fit_linear_head(numbers, labels, 3, penalty=0)
    with pytest.raises(InputError, match="no penalty to choose among"):
        choose_linear_head(numbers, labels, numbers, labels, 3, penalties=())
