"""The account that every search keeps: what is judged, kept, counted, and taken over from another attack."""

from dataclasses import replace

import pytest
import torch

from snellen.core.criterion import Misclassified
from snellen.methods.attacks.fgsm import FGSM
from snellen.methods.attacks.perturbation import L2Ball, LinfBall, cross_entropy, on_scores
from snellen.methods.attacks.perturbation.search import Search
from snellen.testing.conformance import small_problem


@pytest.fixture
def problem():
    return small_problem(count=24)


def begin(problem, projection=None, keep="first"):
    classifier, images, labels = problem
    return Search(
        classifier, images, labels, evaluate=on_scores(classifier, cross_entropy), criterion=Misclassified(),
        projection=projection or LinfBall(1.0), keep=keep,
    )  # fmt: skip


def test_a_look_counts_judges_and_keeps(problem):
    classifier, images, labels = problem
    search, positions = begin(problem), torch.tensor([3, 9, 17])
    candidates = 1 - images[positions]
    values, done = search.look(candidates, positions)
    scores = classifier(candidates)
    assert torch.allclose(values, cross_entropy(scores, labels[positions]))
    assert torch.equal(done, scores.argmax(1) != labels[positions])
    assert done.any()
    assert search.queries.tolist() == [int(number in (3, 9, 17)) for number in range(24)]
    result = search.result()
    assert torch.equal(result.success[positions], done)
    assert torch.equal(result.images[positions[done]], candidates[done])
    assert torch.equal(result.images[positions[~done]], images[positions[~done]])
    assert sorted(search.open_positions().tolist()) == sorted(set(range(24)) - set(positions[done].tolist()))


def test_a_success_outside_the_allowed_set_is_none(problem):
    _, images, _ = problem
    search = begin(problem, L2Ball(0.01))
    search.look(1 - images, torch.arange(24))
    assert not search.success.any()
    assert torch.equal(search.best, images)


def test_closest_keeps_the_nearest_success(problem):
    classifier, images, labels = problem
    search, everyone = begin(problem, L2Ball(torch.inf), "closest"), torch.arange(24)
    tried = [images + share * (1 - 2 * images) for share in (1.0, 0.7, 0.9)]
    for candidates in tried:
        search.look(candidates, everyone)
    for number in range(24):
        fooled = [c[number] for c in tried if int(classifier(c[number][None]).argmax()) != int(labels[number])]
        nearest = min((float((c - images[number]).norm()) for c in fooled), default=0.0)
        assert float(search.distance[number]) == pytest.approx(nearest, rel=1e-5)


def test_absorbing_an_attack_takes_over_its_successes_and_adds_its_costs(problem):
    classifier, images, labels = problem
    search, positions = begin(problem, LinfBall(0.01)), torch.tensor([20, 1, 5, 8, 13, 2])
    search.judge_clean()
    part = FGSM(epsilon=0.01).attack(classifier, images[positions], labels[positions])
    new = search.absorb(positions, part)
    assert torch.equal(new, part.success)
    assert 0 < new.sum() < 6
    result = search.result()
    assert torch.equal(result.images[positions], part.images)
    assert torch.equal(result.distance[positions], part.distance)
    assert torch.equal(result.queries[positions], part.queries + 1)
    assert torch.equal(result.gradients[positions], part.gradients)
    assert not search.absorb(positions, part).any(), "nothing is found twice"
    others = [number for number in range(24) if number not in positions.tolist()]
    assert result.queries[others].unique().tolist() == [1]


def test_absorbing_remembers_blindness_and_scores_that_are_not_finite(problem):
    classifier, images, labels = problem
    search, positions = begin(problem, LinfBall(0.001)), torch.tensor([4, 6])
    part = FGSM(epsilon=0.0).attack(classifier, images[positions], labels[positions])
    lost = replace(part, status=("not finite", "not found"), zero_gradient=torch.tensor([False, True]))
    search.absorb(positions, lost)
    result = search.result()
    assert (result.status[4], result.status[6]) == ("not finite", "not found")
    assert result.zero_gradient.nonzero().flatten().tolist() == [6]
    assert 4 not in search.open_positions().tolist()
