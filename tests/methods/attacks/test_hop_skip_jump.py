"""HopSkipJump: a linear boundary, labels alone, and the budget."""

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.criterion import Targeted
from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.attacks.hop_skip_jump import HopSkipJump
from snellen.testing import check_attack
from snellen.testing.conformance import small_problem


def labels_only(classifier):
    """The same decisions, one-hot, without gradients."""

    def reported(images):
        return nn.functional.one_hot(classifier(images).argmax(1), len(classifier.class_names)).float()

    return Classifier(reported, class_names=classifier.class_names, output="labels", name="labels only")


@pytest.mark.parametrize(("norm", "within"), [("l2", 1.1), ("linf", 1.6)])
def test_comes_near_to_a_linear_boundary(norm, within):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(48, generator=generator)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    model[1].weight.data = torch.stack([weight, -weight])
    images = 0.5 + 0.1 * torch.randn(4, 3, 4, 4, generator=generator).clamp(-2, 2)
    model[1].bias.data = torch.tensor([-1.0, 1.0]) * (float((images.flatten(1) @ weight).mean()) - 0.5)
    classifier = Classifier(model, class_names=["a", "b"])
    scores = classifier(images)
    labels = scores.argmax(1)
    nearest = (scores[:, 0] - scores[:, 1]).abs() / (2 * (weight.norm() if norm == "l2" else weight.abs().sum()))
    attacked = HopSkipJump(norm=norm, budget=3000).attack(labels_only(classifier), images, labels)
    assert attacked.success.all()
    assert (attacked.distance >= nearest * (1 - 1e-4)).all()
    assert (attacked.distance / nearest).median() <= within, attacked.distance / nearest


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_keeps_every_promise_of_an_attack(norm):
    check_attack(HopSkipJump(norm=norm, budget=600))


def test_labels_are_enough_and_the_budget_is_kept():
    classifier, images, labels = small_problem(count=6)
    reported = labels_only(classifier)
    distances = []
    for budget in (150, 1500):
        with reported.counting() as spent:
            attacked = HopSkipJump(budget=budget).attack(reported, images, labels)
        assert attacked.spent.counts() == spent().counts()
        assert int(attacked.queries.max()) <= budget
        assert not attacked.gradients.any()
        distances.append(attacked.distance)
    assert (distances[1] <= distances[0]).all()
    assert distances[1].mean() < distances[0].mean()
    white = HopSkipJump(budget=1500).attack(classifier, images, labels)
    assert torch.equal(white.images, attacked.images)


def test_a_target_needs_starts_of_its_class():
    classifier, images, labels = small_problem(count=6)
    others = (labels[:, None] != labels[None]).int().argmax(1)
    starts, targets = images[others], labels[others]
    assert (targets != labels).all()
    attacked = HopSkipJump(budget=800).attack(
        labels_only(classifier), images, targets, criterion=Targeted(), starts=starts
    )
    assert attacked.success.all()
    assert torch.equal(classifier(attacked.images).argmax(1), targets)
    assert (attacked.distance < (starts - images).flatten(1).norm(dim=1)).all()
    with pytest.raises(InputError, match="one starting image for each"):
        HopSkipJump().attack(classifier, images, targets, starts=starts[:1])


def test_without_any_adversarial_start_the_clean_image_is_returned():
    constant = Classifier(
        lambda images: torch.tensor([[1.0, 0.0]]).expand(len(images), 2), class_names=["a", "b"], output="labels"
    )
    images = torch.rand(2, 3, 4, 4)
    attacked = HopSkipJump().attack(constant, images, torch.tensor([0, 1]))
    assert attacked.status == ("not found", "already")
    assert torch.equal(attacked.images, images)
    assert attacked.queries.tolist() == [101, 1]


def test_other_seeds_take_other_directions():
    classifier, images, labels = small_problem(count=3)
    attack = HopSkipJump(budget=400)
    first, again, other = (attack.attack(classifier, images, labels, rng=Randomness(seed)) for seed in (0, 0, 1))
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
