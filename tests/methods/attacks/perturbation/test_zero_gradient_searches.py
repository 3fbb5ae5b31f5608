"""Images on which a search cannot work: zero gradients, and numbers that are not finite."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.criterion import Misclassified
from snellen.core.errors import ModelError
from snellen.core.randomness import Randomness
from snellen.methods.attacks.fgsm import FGSM
from snellen.methods.attacks.perturbation import LinfBall, SignStep, cross_entropy, on_scores, perturb
from snellen.methods.attacks.pgd import PGD


class ByBrightness(nn.Module):
    """Class 1 above a mean of 0.6. Flat (gradient exactly zero) below 0.4; NaN scores above 0.8."""

    def forward(self, images):
        mean = images.flatten(1).mean(1)
        score = 10 * ((mean - 0.4).relu() - 0.2)
        return torch.stack([-score, torch.where(mean > 0.8, torch.nan, score)], 1)


@dataclass(frozen=True)
class Brighten:
    """A step rule that ignores the gradient."""

    size: float = 0.1

    def start(self, variables):
        return {}

    def step(self, variables, gradient, memory, iteration):
        return variables + self.size, memory


def grey(*levels):
    return torch.tensor(levels)[:, None, None, None].expand(-1, 3, 4, 4).contiguous()


@pytest.fixture
def classifier():
    return Classifier(ByBrightness(), class_names=["dark", "bright"], name="by-brightness")


def search(classifier, images, labels, *, steps=3, step_rule=None, epsilon=1.0, **options):
    return perturb(
        classifier, images, torch.tensor(labels), evaluate=on_scores(classifier, cross_entropy),
        projection=LinfBall(epsilon), step_rule=step_rule or Brighten(), criterion=Misclassified(), steps=steps,
        rng=Randomness(0), **options,
    )  # fmt: skip


@pytest.mark.parametrize("attack", [FGSM(epsilon=0.02), PGD(epsilon=0.02, steps=3, restarts=2)])
def test_a_search_whose_every_gradient_is_zero_is_distinguished_from_one_that_failed(classifier, attack):
    # flat; sloped but too far; found; misclassified already, on the flat part
    images, labels = grey(0.2, 0.5, 0.59, 0.2), torch.tensor([0, 0, 0, 1])
    attacked = attack.attack(classifier, images, labels)
    assert attacked.status == ("not found", "not found", "found", "already")
    # The last one has a zero gradient too, but took no step: alone, it would not even have had a gradient.
    assert attacked.zero_gradient.tolist() == [True, False, False, False]
    evidence = attacked.evidence(classifier, list("abcd"), labels, setting="s")
    assert evidence.table["reason"].to_pylist() == ["not found, zero gradient", "not found", "found", "already"]
    assert evidence.table["status"].to_pylist() == ["ok"] * 4


def test_one_gradient_that_is_not_zero_is_enough(classifier):
    images = grey(0.35)
    assert search(classifier, images, [0], steps=1).zero_gradient.tolist() == [True]
    assert search(classifier, images, [0], steps=2).zero_gradient.tolist() == [False]
    down = search(classifier, grey(0.45), [0], steps=3, step_rule=Brighten(-0.1))
    assert down.zero_gradient.tolist() == [False]


def test_no_step_is_no_zero_gradient(classifier):
    assert search(classifier, grey(0.2), [0], steps=0).zero_gradient.tolist() == [False]


@pytest.mark.parametrize("random_start", [False, True])
@pytest.mark.parametrize("keep", ["first", "closest", "last"])
def test_scores_that_are_not_finite_end_the_search_of_their_image_alone(classifier, keep, random_start):
    images, labels = grey(0.9, 0.59, 0.2), [0, 0, 0]
    options = {"step_rule": SignStep(0.02), "epsilon": 0.02, "keep": keep, "random_start": random_start}
    attacked = search(classifier, images, labels, **options)
    assert attacked.status == ("not finite", "found", "not found")
    assert torch.equal(attacked.images[0], images[0])
    assert (attacked.queries[0], attacked.distance[0]) == (1, 0)
    assert not attacked.success[0]
    assert not attacked.zero_gradient[0]
    evidence = attacked.evidence(classifier, list("abc"), torch.tensor(labels), setting="s")
    row = evidence.table.to_pylist()[0]
    assert (row["status"], row["prediction"], row["value"]) == ("failed", None, None)
    assert row["reason"] == "scores are not finite inside the attack"
    assert evidence.table["prediction"].to_pylist()[1:] == [1, 0]
    assert evidence.tally("s").n == 2


def test_no_finite_image_at_the_first_look_is_an_error(classifier):
    for attack in (FGSM(), PGD()):
        with pytest.raises(ModelError, match=r"by-brightness gave scores .* not finite .* for all 2 images"):
            attack.attack(classifier, grey(0.9, 0.95), torch.tensor([0, 1]))


def test_what_was_found_before_the_numbers_broke_is_kept(classifier):
    # 0.55 → 0.65 (success) → 0.75 (success) → 0.85 (NaN); 0.72 is right, then NaN, and there is no other image left.
    attacked = search(classifier, grey(0.55, 0.72), [0, 1], steps=6, keep="closest")
    assert attacked.status == ("found", "not finite")
    assert torch.allclose(attacked.images, grey(0.65, 0.72))
    assert torch.equal(attacked.images[1], grey(0.72)[0])
    assert attacked.queries.tolist() == [4, 2]
    assert attacked.scores.isfinite().all()


def test_an_image_whose_numbers_broke_gets_no_restart(classifier):
    attacked = search(
        classifier, grey(0.72, 0.2), [1, 0], steps=2, epsilon=0.15, random_start=True, restarts=4, step_rule=Brighten()
    )
    assert attacked.status == ("not finite", "not found")
    assert attacked.queries[0] <= 4
    assert attacked.queries[1] == 1 + 4 * 3


class Rooted(nn.Module):
    """Finite scores whose gradient is NaN where a pixel is 0: 0 · d√x/dx = 0 · ∞."""

    def forward(self, images):
        mean = images.flatten(1).mean(1) + (images.sqrt() * 0).flatten(1).sum(1)
        return torch.stack([torch.full_like(mean, 0.6), mean], 1)


def test_a_gradient_that_is_not_finite_ends_the_search_of_its_image_alone():
    classifier = Classifier(Rooted(), class_names=["dark", "bright"])
    attacked = search(classifier, grey(0.0, 0.55), [0, 0], step_rule=SignStep(0.1), epsilon=0.1)
    assert attacked.status == ("not finite", "found")
    assert attacked.images.isfinite().all()
    alone = search(classifier, grey(0.0), [0], step_rule=SignStep(0.1), epsilon=0.1)
    assert alone.status == ("not finite",)
    assert alone.zero_gradient.tolist() == [False]
