"""Mistakes that attack libraries have been seen to make, each looked for in every attack inside a norm ball."""

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.randomness import Randomness
from snellen.methods.attacks.apgd import APGD
from snellen.methods.attacks.carlini_wagner_l2 import CarliniWagnerL2
from snellen.methods.attacks.deepfool import DeepFool
from snellen.methods.attacks.ensemble import StandardEnsemble
from snellen.methods.attacks.fab import FAB
from snellen.methods.attacks.fgsm import FGSM
from snellen.methods.attacks.pgd import PGD
from snellen.methods.attacks.square import Square
from snellen.testing.conformance import small_problem

#: With two budgets, of which the smaller is one step.
ATTACKS = {
    "fgsm": (lambda one, **ball: FGSM(**ball)),
    "pgd": (lambda one, **ball: PGD(steps=1 if one else 10, **ball)),
    "apgd-ce": (lambda one, **ball: APGD(steps=1 if one else 10, **ball)),
    "apgd-dlr": (lambda one, **ball: APGD(steps=1 if one else 10, loss="dlr", **ball)),
    "apgd-t": (lambda one, **ball: APGD(steps=1 if one else 10, loss="targeted_dlr", **ball)),
    "deepfool": (lambda one, **ball: DeepFool(steps=1 if one else 10, **ball)),
    "fab": (lambda one, **ball: FAB(steps=1 if one else 10, **ball)),
    "square": (lambda one, **ball: Square(queries=1 if one else 60, **ball)),
    "ensemble": (lambda one, **ball: StandardEnsemble(steps=1 if one else 10, queries=1 if one else 60, **ball)),
}
BALLS = [{"norm": "linf", "epsilon": 0.008}, {"norm": "l2", "epsilon": 0.09}]


@pytest.fixture(params=ATTACKS)
def attack(request):
    return ATTACKS[request.param]


@pytest.mark.parametrize("ball", BALLS, ids=lambda ball: ball["norm"])
def test_failures_are_clean_images_so_that_counting_errors_counts_successes(attack, ball):
    # An all-zero image in the place of a failure is misclassified too, and doubles the apparent success.
    classifier, images, labels = small_problem(count=40)
    attacked = attack(False, **ball).attack(classifier, images, labels)
    assert 0 < attacked.success.sum() < 40
    assert int((classifier(attacked.images).argmax(1) != labels).sum()) == int(attacked.success.sum())
    assert torch.equal(attacked.images[~attacked.success], images[~attacked.success])


@pytest.mark.parametrize("ball", BALLS, ids=lambda ball: ball["norm"])
def test_the_last_step_is_judged(attack, ball):
    # A search that judges before it steps makes nothing of one step.
    classifier, images, labels = small_problem(count=40)
    attacked = attack(True, **{**ball, "epsilon": 3 * ball["epsilon"]}).attack(classifier, images, labels)
    assert attacked.success.any()
    assert (attacked.distance[attacked.success] > 0).all()


def test_broken_images_cost_nothing_more(attack):
    classifier, images, labels = small_problem(count=40)
    easy = attack(False, norm="linf", epsilon=0.3).attack(classifier, images, labels)
    hard = attack(False, norm="linf", epsilon=0.0005).attack(classifier, images, labels)
    assert easy.success.float().mean() > 0.9
    assert hard.success.float().mean() < 0.3
    assert easy.queries.sum() <= hard.queries.sum()
    assert easy.queries[easy.success].float().mean() < 6


def test_no_image_leaves_the_ball_or_the_box_at_its_corners(attack):
    classifier, images, labels = small_problem(count=40)
    images = images.round()  # every value at a bound
    labels = classifier(images).argmax(1)
    for ball in BALLS:
        attacked = attack(False, **ball).attack(classifier, images, labels)
        order = torch.inf if ball["norm"] == "linf" else 2
        change = (attacked.images - images).flatten(1)
        assert torch.linalg.vector_norm(change, order, dim=1).max() <= ball["epsilon"] + 1e-5
        assert attacked.images.min() >= 0
        assert attacked.images.max() <= 1


def test_no_budget_breaks_nothing(attack):
    classifier, images, labels = small_problem()
    for norm in ("linf", "l2"):
        attacked = attack(False, norm=norm, epsilon=0).attack(classifier, images, labels)
        assert not attacked.success.any()
        assert torch.equal(attacked.images, images)


def test_the_order_of_the_images_changes_nothing(attack):
    classifier, images, labels = small_problem(count=16)
    rng = Randomness(0).for_examples([f"image-{n}" for n in range(16)])
    ball = {"norm": "linf", "epsilon": 0.008}
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    straight = attack(False, **ball).attack(classifier, images, labels, rng=rng)
    mixed = attack(False, **ball).attack(classifier, images[order], labels[order], rng=rng[order])
    assert torch.equal(mixed.success, straight.success[order])
    assert torch.allclose(mixed.images, straight.images[order], atol=1e-5)


def test_half_precision_is_refused_and_double_stays_double(attack):
    classifier, images, labels = small_problem()
    with pytest.raises(ValueError, match="float32 or float64"):
        attack(False, norm="linf", epsilon=0.01).attack(classifier, images.half(), labels)
    classifier.module.double()
    attacked = attack(False, norm="linf", epsilon=0.02).attack(classifier, images.double(), labels)
    assert attacked.images.dtype == torch.float64
    assert attacked.success.any()


def test_many_classes_cost_no_more_than_ten():
    # Targeted attacks that try every class take an hour where ten classes take minutes.
    spent = {}
    for classes in (10, 40):
        generator = torch.Generator().manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(48, classes))
        model[1].weight.data = torch.randn(classes, 48, generator=generator)
        classifier = Classifier(model, class_names=[str(n) for n in range(classes)])
        images = torch.rand(4, 3, 4, 4, generator=generator)
        labels = classifier(images).argmax(1)
        attacked = StandardEnsemble(epsilon=1e-5, steps=3, queries=5).attack(classifier, images, labels)
        assert not attacked.success.any()
        spent[classes] = attacked.spent.queries
    assert spent[40] == spent[10]


@pytest.mark.parametrize("steps", [1, 2])
def test_the_last_step_of_a_search_for_the_smallest_change_is_judged(steps):
    classifier, images, labels = small_problem(count=24)
    method = CarliniWagnerL2(steps=steps, searches=1, first_weight=1e3, learning_rate=0.5, last_resort=False)
    assert method.attack(classifier, images, labels).success.any()
