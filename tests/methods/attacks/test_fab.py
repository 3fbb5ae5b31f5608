"""FAB: the known distance on linear models, nearer than what ascent finds, and its two ways to end."""

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.criterion import Targeted
from snellen.core.errors import InputError, UnsupportedError
from snellen.methods.attacks.apgd import APGD
from snellen.methods.attacks.fab import FAB, smallest_change
from snellen.testing.conformance import small_problem
from tests.methods.attacks.linear_model import linear_problem

#: Distances that FABAttack_PT of pyautoattack 0.2.0 (the authors' code) finds on the small problem: first target class,
#: start at the clean image, 12 projections.
PEER = {
    "linf": [0.002483, 0.002678, 0.005698, 0.001918, 0.003562, 0.016299, 0.000242, 0.008516],
    "l2": [0.026811, 0.028996, 0.063635, 0.020939, 0.038248, 0.175146, 0.002662, 0.093077],
}


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_distances_equal_those_of_the_authors_code(norm):
    classifier, images, labels = small_problem(count=8)
    attacked = FAB(norm=norm, steps=12, target_classes=1).attack(classifier, images, labels)
    assert torch.allclose(attacked.distance, torch.tensor(PEER[norm]), atol=2e-6, rtol=2e-4)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_finds_the_distance_to_the_boundary_of_a_linear_model(norm):
    classifier, images, labels, needed = linear_problem(norm)
    attacked = FAB(norm=norm, steps=20).attack(classifier, images, labels)
    assert attacked.success.all()
    assert (attacked.distance / needed - 1).abs().max() < 0.01
    assert (attacked.distance >= needed * (1 - 1e-4)).all(), "nothing nearer exists"


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_finds_the_nearest_of_several_boundaries_inside_the_box(norm):
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 6))
    model[1].weight.data = torch.randn(6, 48, generator=generator)
    images = torch.rand(20, 3, 4, 4, generator=generator)
    images = torch.where(images < 0.3, 0.0, images)  # pixels at the bound, as in real images
    classifier = Classifier(model, class_names="abcdef")
    scores = classifier(images)
    labels, order = scores.argmax(1), torch.inf if norm == "linf" else 2
    lengths = []
    for other in range(6):
        normals = (model[1].weight[other] - model[1].weight[labels]).view_as(images)
        gaps = scores.gather(1, labels[:, None])[:, 0] - scores[:, other]
        change = smallest_change(images, normals, gaps, norm=norm)
        reaches = ((change * normals).flatten(1).sum(1) > gaps * 0.999) & (labels != other)
        lengths.append(torch.where(reaches, torch.linalg.vector_norm(change.flatten(1), order, dim=1), torch.inf))
    needed = torch.stack(lengths).amin(0)
    attacked = FAB(norm=norm, steps=30).attack(classifier, images, labels)
    assert attacked.success.all()
    assert (attacked.distance / needed - 1).abs().max() < 0.01


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_within_epsilon_it_breaks_what_targeted_ascent_breaks(norm):
    classifier, images, labels = small_problem(count=64)
    epsilon = 0.01 if norm == "linf" else 0.1
    ascent = APGD(norm=norm, epsilon=epsilon, loss="targeted_dlr", steps=40).attack(classifier, images, labels)
    attacked = FAB(norm=norm, epsilon=epsilon, steps=40).attack(classifier, images, labels)
    assert 0 < attacked.success.sum() < 64
    assert abs(int(attacked.success.sum()) - int(ascent.success.sum())) <= 1
    assert (attacked.distance <= epsilon + 1e-5).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_with_and_without_epsilon_agree_on_what_is_within_it(norm):
    classifier, images, labels = small_problem(count=32)
    nearest = FAB(norm=norm, steps=40).attack(classifier, images, labels)
    assert nearest.success.all()
    epsilon = float(nearest.distance.median()) * 1.001
    within = FAB(norm=norm, epsilon=epsilon, steps=40).attack(classifier, images, labels)
    assert torch.equal(within.success, nearest.distance <= epsilon)
    assert int(within.queries.sum()) < int(nearest.queries.sum()), "who is within leaves at once"
    assert (nearest.distance[within.success] <= within.distance[within.success] + 1e-6).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_random_starts_find_what_the_clean_image_has_no_gradient_for(norm):
    class FlatBelow(nn.Module):
        """Gradient exactly zero up to a mean of 0.5, where the images are."""

        def forward(self, images):
            rise = (images.flatten(1).mean(1) - 0.5).relu()
            return torch.stack([torch.full_like(rise, 0.05), rise], 1)

    classifier, images = Classifier(FlatBelow(), class_names="ab"), torch.full((8, 3, 4, 4), 0.5)
    labels = torch.zeros(8, dtype=torch.int64)
    once, more = (FAB(norm=norm, steps=40, restarts=restarts).attack(classifier, images, labels) for restarts in (1, 6))
    assert not once.success.any()
    assert once.zero_gradient.all()
    assert more.success.all()
    assert not more.zero_gradient.any()
    needed = 0.05 if norm == "linf" else 0.05 * 48**0.5
    assert (more.distance / needed - 1).abs().max() < 0.02


def test_two_queries_and_a_gradient_for_each_projection():
    classifier, images, labels = small_problem()
    attacked = FAB(steps=3, target_classes=2).attack(classifier, images, labels)
    assert attacked.queries.tolist() == [1 + 2 * 3 * 2] * 12
    assert attacked.gradients.tolist() == [2 * 3] * 12


def test_reaches_a_target():
    classifier, images, labels = small_problem(count=20)
    targets = (labels + 1) % 5
    attacked = FAB(norm="l2", steps=40).attack(classifier, images, targets, criterion=Targeted())
    assert attacked.success.float().mean() > 0.8
    assert torch.equal(classifier(attacked.images).argmax(1)[attacked.success], targets[attacked.success])


def test_double_precision_stays_double():
    classifier, images, labels = small_problem()
    classifier.module.double()
    attacked = FAB(steps=10, restarts=2).attack(classifier, images.double(), labels)
    assert attacked.images.dtype == torch.float64
    assert attacked.success.all()


def test_errors_name_the_cause():
    _, images, labels = small_problem()
    blind = Classifier(lambda x: x.flatten(1)[:, :5], class_names="abcde", name="blind")
    with pytest.raises(UnsupportedError, match="needs gradients, and blind gives none"):
        FAB().attack(blind, images, labels)
    for wrong in ({"backward": 1.0}, {"overshoot": 0.9}, {"bias": 1.1}, {"epsilon": -1}, {"steps": 0}):
        with pytest.raises(InputError):
            FAB(**wrong)
