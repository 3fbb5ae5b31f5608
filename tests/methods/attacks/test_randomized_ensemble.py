"""The ensemble for classifiers that draw at random: means judge, luck does not."""

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.criterion import Targeted, margin
from snellen.core.errors import InputError, UnsupportedError
from snellen.methods.attacks.ensemble import StandardEnsemble
from snellen.methods.attacks.pgd import PGD
from snellen.methods.attacks.randomized_ensemble import RandomizedEnsemble
from snellen.testing.conformance import small_problem


class Noisy(nn.Module):
    """Noise before or after a network, from a generator of its own."""

    def __init__(self, inner, before=0.0, after=0.0):
        super().__init__()
        self.inner, self.before, self.after = inner, before, after
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, images):
        scores = self.inner(images + self.before * torch.randn(images.shape, generator=self.generator))
        return scores + self.after * torch.randn(scores.shape, generator=self.generator)


def noisy(count=16, **noise):
    classifier, images, labels = small_problem(count=count)
    return Classifier(Noisy(classifier.module, **noise), class_names=classifier.class_names), images, labels


def margins(classifier, images, labels, draws=300):
    """Margin of the mean scores over many draws, and the spread of the margins of single ones."""
    with torch.no_grad():
        scores = torch.stack([classifier(images) for _ in range(draws)])
    return margin(scores.mean(0), labels), torch.stack([margin(each, labels) for each in scores]).std(0)


def test_parameters_are_those_of_the_version_rand():
    method = RandomizedEnsemble()
    assert (method.steps, method.draws, method.epsilon, list(method.stages())) == (
        100, 20, 8 / 255, ["apgd-ce", "apgd-dlr"],
    )  # fmt: skip


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_what_it_finds_stands_on_many_new_draws(norm):
    classifier, images, labels = noisy(before=0.05)
    with pytest.raises(InputError, match="it draws at random"):
        StandardEnsemble().attack(classifier, images, labels)
    ball = {"norm": norm, "epsilon": 0.02 if norm == "linf" else 0.25}
    method = RandomizedEnsemble(steps=15, draws=8, confirming_draws=64, **ball)
    with classifier.counting() as spent:
        attacked = method.attack(classifier, images, labels)
    assert attacked.spent.counts() == spent().counts()
    found = torch.tensor([status == "found" for status in attacked.status])
    assert 0.3 * len(images) < found.sum() < len(images)
    # Some stop at the boundary itself, which a mean of 64 cannot see more sharply than this.
    mean, spread = margins(classifier, attacked.images, labels)
    assert (mean < 3 * spread / 64**0.5)[found].all()
    assert (mean < 0)[found].double().mean() > 0.7
    assert set(attacked.found_by) <= {"clean", "", "apgd-ce", "apgd-dlr"}
    assert (attacked.images[~attacked.success] == images[~attacked.success]).all()


class Flat(nn.Module):
    """The same scores for every image, but for their gradient."""

    def forward(self, images):
        still = (images - images.detach()).flatten(1).sum(1, keepdim=True)
        return torch.tensor([1.0, 0.0, 0.0]) * (1 + still)


def test_luck_is_no_success():
    # No change can help, and still one mean of 4 looks in seven is wrong.
    classifier, images = Classifier(Noisy(Flat(), after=1.0), class_names="abc"), torch.rand(16, 3, 4, 4)
    labels = torch.zeros(16, dtype=torch.int64)
    method = RandomizedEnsemble(epsilon=0.1, steps=30, draws=4, confirming_draws=20)
    assert method.attack(classifier, images, labels).success.sum() <= 2
    lucky = PGD(epsilon=0.1, steps=30).attack(classifier, images, labels)
    assert lucky.success.all(), "an attack that believes one look"


def test_a_deterministic_model_is_queried_once_each():
    classifier, images, labels = small_problem(count=16)
    attacked = RandomizedEnsemble(epsilon=0.01, steps=10).attack(classifier, images, labels)
    standing = ~attacked.success
    # Two looks at the clean image, and of each stage the start and its steps.
    assert (attacked.queries[standing] == 2 + 2 * 11).all()
    assert (attacked.gradients[standing] == 2 * 10).all()
    assert 0 < attacked.success.sum() < 16


class Shaken(nn.Module):
    """A little noise in the scores, and a lot in their gradients."""

    def __init__(self, inner, factor=0.3):
        super().__init__()
        self.inner, self.factor, self.generator = inner, factor, torch.Generator().manual_seed(0)

    def forward(self, images):
        scores = self.inner(images)
        noise = torch.randn((*scores.shape, images[0].numel()), generator=self.generator)
        slope = (noise * (images - images.detach()).flatten(1)[:, None]).sum(2)
        return scores + self.factor * slope + 0.02 * torch.randn(scores.shape, generator=self.generator)


def test_mean_gradients_lead_where_single_ones_do_not():
    classifier, images, labels = small_problem(count=32)
    shaken = Classifier(Shaken(classifier.module), class_names=classifier.class_names)
    ball = {"epsilon": 0.012, "steps": 8, "confirming_draws": 20}
    single = RandomizedEnsemble(draws=2, **ball).attack(shaken, images, labels)
    mean = RandomizedEnsemble(draws=40, **ball).attack(shaken, images, labels)
    assert int(mean.success.sum()) >= int(single.success.sum()) + 4


def test_targets_two_classes_and_refusals():
    classifier, images, labels = noisy(before=0.05)
    targets = (labels + 1) % 5
    attacked = RandomizedEnsemble(epsilon=0.2, steps=15, draws=5).attack(
        classifier, images, targets, criterion=Targeted()
    )
    found = torch.tensor([status == "found" for status in attacked.status])
    assert found.any()
    mean, _ = margins(classifier, attacked.images[found], targets[found])
    assert (mean > -0.02).all()
    two = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), class_names="ab")
    assert len(RandomizedEnsemble(epsilon=0.3, steps=5).attack(two, images, two(images).argmax(1)).found_by) == 16
    with pytest.raises(UnsupportedError, match="randomized_ensemble needs gradients, and classifier gives none"):
        RandomizedEnsemble().attack(Classifier(lambda x: x.flatten(1), class_names=["a"] * 192), images, labels)


def test_many_looks_at_a_near_boundary_are_no_success():
    # The mean of 100 draws is two standard errors right; each of many steps would be wrong by luck now and then.
    classifier = Classifier(Noisy(Flat(), after=5 / 2**0.5), class_names="abc")
    images, labels = torch.rand(60, 3, 4, 4), torch.zeros(60, dtype=torch.int64)
    attacked = RandomizedEnsemble(epsilon=0.1, steps=15, draws=8).attack(classifier, images, labels)
    standing = [name != "clean" for name in attacked.found_by]
    broken = int(attacked.success[torch.tensor(standing)].sum())
    assert broken <= 0.15 * sum(standing), f"{broken} of {sum(standing)} by luck"
    for row, status in enumerate(attacked.status):
        if status == "not found":
            assert torch.equal(attacked.images[row], images[row])
            assert float(attacked.distance[row]) == 0
