"""Square: in its ball, on scores alone, and as strong as the budget says."""

import pytest
import torch

from snellen.core.classifier import Classifier
from snellen.core.criterion import Targeted
from snellen.core.errors import InputError, UnsupportedError
from snellen.core.randomness import Randomness
from snellen.methods.attacks.pgd import PGD
from snellen.methods.attacks.square import Square
from snellen.testing.conformance import small_problem
from tests.methods.attacks.linear_model import linear_problem


def scores_only(classifier):
    """The same model through a function: no gradients."""

    def scores(images):
        with torch.no_grad():
            return classifier.module(images)

    return Classifier(scores, class_names=classifier.class_names, name="scores-only")


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_breaks_most_of_what_gradients_break(norm):
    classifier, images, labels = small_problem(count=48)
    epsilon = 0.02 if norm == "linf" else 0.2
    by_gradients = PGD(norm=norm, epsilon=epsilon, steps=40).attack(classifier, images, labels)
    attacked = Square(norm=norm, epsilon=epsilon, queries=400).attack(scores_only(classifier), images, labels)
    # On images of 8 pixels the smallest squares of L2, 3 by 3, are coarse: the authors' code finds no more (28).
    assert attacked.success.sum() >= (0.9 if norm == "linf" else 0.7) * by_gradients.success.sum()
    assert not attacked.gradients.any()


def test_breaks_exactly_what_can_be_broken_on_a_linear_model():
    classifier, images, labels, needed = linear_problem("linf")
    epsilon = float(needed.median())
    attacked = Square(epsilon=epsilon, queries=1500).attack(classifier, images, labels)
    assert attacked.success[needed < epsilon * 0.95].all()
    assert not attacked.success[needed > epsilon * 1.01].any()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_every_candidate_stays_in_the_ball_and_the_box(norm):
    classifier, images, labels = small_problem()
    epsilon, seen = (0.005 if norm == "linf" else 0.05), []

    def watched(candidates):
        seen.append(candidates)
        return classifier.module(candidates)

    watching = Classifier(watched, class_names=classifier.class_names)
    attacked = Square(norm=norm, epsilon=epsilon, queries=300).attack(watching, images, labels)
    standing = (~attacked.success).nonzero().flatten()
    assert len(standing), "someone must stay to the end"
    low, high = torch.stack([torch.stack(torch.aminmax(candidates)) for candidates in seen]).unbind(1)
    assert low.min() >= 0
    assert high.max() <= 1
    order = torch.inf if norm == "linf" else 2
    for candidates in seen[1:]:
        # Whoever is still there belongs to one of the images: the nearest one.
        change = (candidates[:, None] - images[None]).flatten(2)
        assert torch.linalg.vector_norm(change, order, dim=2).amin(1).max() <= epsilon + 1e-5


@pytest.mark.parametrize(("norm", "sizes"), [("linf", {7, 5, 4, 3, 2, 1}), ("l2", {7, 5, 3})])
def test_squares_have_the_sizes_of_the_schedule(norm, sizes):
    # Margins that never fall: the first candidate stays the best, and each later one differs from it by one square.
    seen = []

    def flat(candidates):
        seen.append(candidates)
        return torch.tensor([1.0, 0.0, -1.0]).expand(len(candidates), 3)

    image = torch.full((1, 3, 8, 8), 0.5)
    attack = Square(norm=norm, epsilon=0.1, queries=400)
    attack.attack(Classifier(flat, class_names="abc"), image, torch.tensor([0]))
    assert len(seen) == 401
    found = set()
    for candidate in seen[2:]:
        changed = (candidate != seen[1]).any(1)[0].nonzero()
        if norm == "linf" and len(changed):
            found.add(int((changed.amax(0) - changed.amin(0)).max()) + 1)
        elif len(changed):
            assert len(changed) <= 2 * 7 * 7, "two squares of mass that moves"
            found.add(round(len(changed) ** 0.5))
    if norm == "linf":
        assert found == sizes
    else:
        assert max(found) <= 8
        assert 3 in found


def test_queries_are_the_budget_and_one_look():
    classifier, images, labels = small_problem()
    attacked = Square(epsilon=0.001, queries=37, restarts=2).attack(classifier, images, labels)
    standing = ~attacked.success
    assert standing.any()
    assert attacked.queries[standing].unique().tolist() == [2 * 37 + 1]


def test_restarts_and_more_queries_only_help():
    classifier, images, labels = small_problem(count=32)
    base = {"epsilon": 0.01, "rescale": False}
    few = Square(queries=40, **base).attack(classifier, images, labels).success
    more = Square(queries=150, **base).attack(classifier, images, labels).success
    again = Square(queries=40, restarts=3, **base).attack(classifier, images, labels).success
    assert (more >= few).all(), "without rescaling, a longer search begins with the shorter one"
    assert (again >= few).all()
    assert more.sum() > few.sum()


def test_same_seed_same_images_other_seed_other_images():
    classifier, images, labels = small_problem()
    attack = Square(epsilon=0.02, queries=30)
    first, again, other = (attack.attack(classifier, images, labels, rng=Randomness(s)) for s in (0, 0, 1))
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)


def test_blocks_of_draws_leave_no_seam():
    # Longer than a block, with images that leave inside and at the seam: each alone takes the same path.
    classifier, images, labels = small_problem()
    attack, rng = Square(epsilon=0.008, queries=230), Randomness(0).bind(12)
    whole = attack.attack(classifier, images, labels, rng=rng)
    for i in range(12):
        alone = attack.attack(classifier, images[[i]], labels[[i]], rng=rng[[i]])
        assert torch.allclose(alone.images[0], whole.images[i], atol=1e-6)
        assert int(alone.queries) == int(whole.queries[i])


def test_reaches_a_target():
    classifier, images, labels = small_problem(count=20)
    targets = (labels + 1) % 5
    attacked = Square(epsilon=0.2, queries=300).attack(classifier, images, targets, criterion=Targeted())
    assert attacked.success.float().mean() > 0.8
    assert torch.equal(classifier(attacked.images).argmax(1)[attacked.success], targets[attacked.success])


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("shape", [(1, 1), (2, 9), (13, 6)])
def test_images_of_any_shape(norm, shape):
    images = torch.rand(2, 3, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def brighter(candidates):
        mean = candidates.flatten(1).mean(1)
        return torch.stack([torch.ones_like(mean), mean], 1)

    classifier = Classifier(brighter, class_names="ab")
    attacked = Square(norm=norm, epsilon=0.1, queries=60).attack(classifier, images, torch.zeros(2, dtype=torch.int64))
    assert not attacked.success.any()
    assert attacked.images.dtype == torch.float64


def test_errors_name_the_cause():
    _, images, labels = small_problem()
    labels_only = Classifier(lambda x: x.flatten(1)[:, :5], class_names="abcde", output="labels", name="oracle")
    with pytest.raises(UnsupportedError, match="square needs scores, and oracle gives none"):
        Square().attack(labels_only, images, labels)
    for wrong in ({"queries": 0}, {"first_share": 0}, {"first_share": 1.1}, {"norm": "l1"}, {"epsilon": -0.1}):
        with pytest.raises(InputError):
            Square(**wrong)
