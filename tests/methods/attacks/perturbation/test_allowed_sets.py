"""Sets without a bound, and given starts."""

import torch

from snellen.core.criterion import Misclassified
from snellen.core.randomness import Randomness
from snellen.methods.attacks.perturbation import LinfBall, SignStep, cross_entropy, on_scores, perturb
from snellen.methods.attacks.perturbation.projections import GivenStart, WholeBox
from snellen.testing.conformance import small_problem


def test_a_search_starts_where_it_is_directed_to_and_judges_that_as_a_candidate():
    classifier, images, labels = small_problem(count=8)
    starts = images.flip(0)
    attacked = perturb(
        classifier, images, labels, evaluate=on_scores(classifier, cross_entropy), step_rule=SignStep(0.0),
        projection=GivenStart(LinfBall(1.0), starts), criterion=Misclassified(), steps=1, rng=Randomness(0),
        random_start=True,
    )  # fmt: skip
    fooling = classifier(starts).argmax(1) != labels
    assert 0 < fooling.sum() < 8
    assert torch.equal(attacked.success, fooling)
    assert torch.equal(attacked.images[fooling], starts[fooling])
    assert torch.equal(attacked.images[~fooling], images[~fooling])


def test_everything_that_is_not_the_start_is_that_of_the_set_itself():
    images = torch.rand(2, 3, 4, 4)
    ball, given = LinfBall(0.1), GivenStart(LinfBall(0.1), images)
    moved = (images + 0.3).clamp(0, 1)
    assert torch.equal(given.project(moved, images), ball.project(moved, images))
    assert torch.equal(given.distance(moved, images), ball.distance(moved, images))
    assert torch.equal(given.contains(moved, images), ball.contains(moved, images))
    box = WholeBox()
    assert torch.allclose(box.project(moved, images), moved, atol=1e-6)
    assert torch.allclose(box.distance(moved, images), (moved - images).flatten(1).norm(dim=1))
