"""The standard ensemble: the worst case of its parts, at their cost, and only on models it is meant for."""

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.criterion import Targeted
from snellen.core.errors import InputError, UnsupportedError
from snellen.core.randomness import Randomness
from snellen.methods.attacks.apgd import APGD
from snellen.methods.attacks.ensemble import StandardEnsemble
from snellen.testing.conformance import small_problem

#: Small enough for a test; the parts keep their order and their ways.
SHORT = {"steps": 10, "target_classes": 2, "queries": 60}


def test_parameters_are_those_of_the_standard_version():
    # Croce and Hein (2020), section 5, and AutoAttack's version "standard".
    stages = StandardEnsemble(epsilon=0.03, norm="l2").stages(10)
    assert list(stages) == ["apgd-ce", "apgd-t", "fab-t", "square"]
    assert all((stage.epsilon, stage.norm, stage.restarts) == (0.03, "l2", 1) for stage in stages.values())
    ce, targeted, fab, square = stages.values()
    assert (ce.loss, ce.steps) == ("cross_entropy", 100)
    assert (targeted.loss, targeted.steps, targeted.target_classes) == ("targeted_dlr", 100, 9)
    assert (fab.steps, fab.target_classes, fab.overshoot, fab.backward, fab.bias) == (100, 9, 1.05, 0.9, 0.1)
    assert (square.queries, square.first_share, square.rescale) == (5000, 0.8, False)


def test_below_four_classes_margins_take_the_place_of_the_ratio():
    assert StandardEnsemble().stages(3)["apgd-t"].loss == "targeted_margin"
    assert StandardEnsemble().stages(4)["apgd-t"].loss == "targeted_dlr"
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    model[1].weight.data = torch.randn(2, 48, generator=generator)
    classifier, images = Classifier(model, class_names="ab"), torch.rand(6, 3, 4, 4, generator=generator)
    attacked = StandardEnsemble(epsilon=0.02, **SHORT).attack(classifier, images, classifier(images).argmax(1))
    assert 0 < attacked.success.sum() < 6


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_is_the_worst_case_of_its_parts_at_the_sum_of_their_costs(norm):
    classifier, images, labels = small_problem(count=32)
    ensemble = StandardEnsemble(norm=norm, epsilon=0.01 if norm == "linf" else 0.12, **SHORT)
    rng = Randomness(0).bind(32)
    labels[0] = (labels[0] + 1) % 5
    with classifier.counting() as spent:
        attacked = ensemble.attack(classifier, images, labels, rng=rng)
    assert attacked.spent.counts() == spent().counts()
    standing, queries = torch.ones(32, dtype=torch.bool), torch.full((32,), 2)
    found_by = [""] * 32
    for name, stage in ensemble.stages(5).items():
        positions = standing.nonzero().flatten()
        alone = rng.child("standard_ensemble")[positions]
        part = stage.attack(classifier, images[positions], labels[positions], rng=alone)
        for position, status in zip(positions.tolist(), part.status, strict=True):
            if status != "not found":
                found_by[position] = "clean" if status == "already" else name
        # Who is misclassified from the start is known to be so after the first look, and costs no stage anything.
        queries[positions] += torch.where(torch.tensor([s == "already" for s in part.status]), 0, part.queries)
        standing[positions[part.success]] = False
    assert attacked.found_by == tuple(found_by)
    assert found_by[0] == "clean"
    assert torch.equal(attacked.success, ~standing)
    assert torch.equal(attacked.queries, queries)
    assert 0 < standing.sum() < 32


def test_later_stages_add_to_the_first():
    classifier, images, labels = small_problem(count=64)
    ensemble = StandardEnsemble(epsilon=0.008, **SHORT)
    attacked = ensemble.attack(classifier, images, labels)
    counts = {name: attacked.found_by.count(name) for name in ("apgd-ce", "apgd-t", "fab-t", "square", "")}
    assert counts["apgd-ce"] > 0
    assert counts[""] > 0
    assert attacked.success.sum() >= APGD(epsilon=0.008, steps=10).attack(classifier, images, labels).success.sum()


def test_square_breaks_a_model_whose_gradients_are_masked():
    class Masked(nn.Module):
        """Scores in steps: gradients are exactly zero everywhere, the decision is as easy to change as ever."""

        def forward(self, images):
            means = images.mean((2, 3))
            steps = (means * 40).round() / 40
            return torch.cat([steps, steps[:, :1] * 0], 1) + 0 * images.sum((1, 2, 3))[:, None]

    classifier = Classifier(Masked(), class_names="abcd")
    images = torch.tensor([0.56, 0.5, 0.5]).view(1, 3, 1, 1).expand(8, 3, 16, 16).contiguous()
    attacked = StandardEnsemble(epsilon=0.1, **SHORT).attack(classifier, images, torch.zeros(8, dtype=torch.int64))
    assert attacked.found_by == ("square",) * 8


def test_a_model_that_draws_at_random_is_refused():
    class Noisy(nn.Module):
        def forward(self, images):
            return images.flatten(1)[:, :5] + 0.1 * torch.rand(len(images), 5)

    torch.manual_seed(0)
    noisy = Classifier(Noisy(), class_names="abcde", name="noisy")
    images = torch.rand(6, 3, 4, 4)
    with pytest.raises(InputError, match=r"noisy gave 6 of 6 images other scores .* it draws at random.*\(EOT"):
        StandardEnsemble(**SHORT).attack(noisy, images, torch.zeros(6, dtype=torch.int64))


def test_scores_that_differ_by_rounding_are_no_draws():
    class Rounding(nn.Module):
        calls = 0

        def forward(self, images):
            self.calls += 1
            return images.flatten(1)[:, :5] * (1 + 1e-6 * (self.calls % 2))

    classifier = Classifier(Rounding(), class_names="abcde")
    images = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    attacked = StandardEnsemble(epsilon=0.5, **SHORT).attack(classifier, images, images.flatten(1)[:, :5].argmax(1))
    assert attacked.success.all()


def test_an_image_without_finite_scores_is_neither_broken_nor_standing():
    classifier, images, labels = small_problem()

    class Partly(nn.Module):
        def forward(self, batch):
            scores = classifier.module(batch)
            return torch.where((batch[:, 0, 0, 0] > 2 / 3)[:, None], torch.nan, scores)

    images = images.clone()
    images[:, 0, 0, 0] = 0.1
    images[4, 0, 0, 0] = 0.9
    labels = classifier(images).argmax(1)
    attacked = StandardEnsemble(epsilon=0.01, **SHORT).attack(Classifier(Partly(), class_names="abcde"), images, labels)
    assert [status == "not finite" for status in attacked.status] == [number == 4 for number in range(12)]
    assert attacked.found_by[4] == ""
    assert torch.equal(attacked.images[4], images[4])


def test_targets_and_no_images():
    classifier, images, labels = small_problem(count=12)
    ensemble, targets = StandardEnsemble(epsilon=0.2, **SHORT), (labels + 1) % 5
    attacked = ensemble.attack(classifier, images, targets, criterion=Targeted())
    assert attacked.success.float().mean() > 0.8
    assert torch.equal(classifier(attacked.images).argmax(1)[attacked.success], targets[attacked.success])
    empty = ensemble.attack(classifier, images[:0], labels[:0])
    assert (len(empty.images), empty.found_by, empty.status) == (0, (), ())


def test_errors_name_the_cause():
    _, images, labels = small_problem()
    blind = Classifier(lambda x: x.flatten(1)[:, :5], class_names="abcde", name="blind")
    with pytest.raises(UnsupportedError, match="standard_ensemble needs gradients, and blind gives none"):
        StandardEnsemble().attack(blind, images, labels)
    several = Classifier(nn.Flatten(), class_names="abcde", task="multilabel", name="several")
    with pytest.raises(UnsupportedError, match="standard_ensemble plays classes against each other"):
        StandardEnsemble().attack(several, images, nn.functional.one_hot(labels, 5))
    with pytest.raises(InputError):
        StandardEnsemble(version="rand")
