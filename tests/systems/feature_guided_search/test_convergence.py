"""The game against full enumeration: its minimum, its value for each second player, and its reward."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.systems.feature_guided_search.manipulation import manipulated
from snellen.systems.feature_guided_search.method import FeatureGuidedSearch
from tests.systems.feature_guided_search.norms import severities

#: Plain moves: one pixel, asked after each, nothing put back, no path beyond the best.
PLAIN = {"pixels": 1, "every_move": True, "backtracking": 0, "overshoot": 1.0, "adapting": 0.0, "detector": "own"}


def tiny_network(seed, side=3):
    """A random network on 3 by 3 pixels, an image, and what it says of it."""
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, 12), nn.Tanh(), nn.Linear(12, 3))
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.6
    image = torch.rand(1, 3, side, side, generator=generator)
    model[3].bias.data[:] -= model(image)[0].detach() - torch.tensor([1.6, 0.0, 0.2])
    return Classifier(model, class_names="abc"), image, torch.tensor([0])


def exhaustive_minimum(classifier, image, manipulation, norm, step=0.5):
    """Least severity over all sets of manipulated pixels, infinite where none is adversarial."""
    changes = manipulated(image, manipulation, step=step)
    told = torch.tensor(list(itertools.product((0, *changes.instructions), repeat=9)), dtype=torch.int8)
    candidates = changes.candidates(torch.zeros(len(told), dtype=torch.int64), told)
    with torch.no_grad():
        adversarial = classifier.module(candidates).argmax(1) != 0
    return float(severities(candidates, image, norm)[adversarial].min()) if adversarial.any() else math.inf


@pytest.mark.covers("15.10")
@pytest.mark.parametrize("seed", range(6))
def test_the_minimum_is_that_of_all_images_of_a_small_problem(seed):
    classifier, image, label = tiny_network(seed)
    least = exhaustive_minimum(classifier, image, "extreme", "l0")
    attacked = FeatureGuidedSearch(queries=1500, visits=6000, leaves=8, **PLAIN).attack(classifier, image, label)
    if math.isinf(least):
        assert attacked.endings == ("not found, exhausted, no keypoints",)
        assert int(attacked.queries) == 2**9, "every image of the grid, each once"
    else:
        assert attacked.distance.item() == least
        assert "exhausted" in attacked.endings[0]


@pytest.mark.covers("15.10")
@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_the_minimum_in_other_norms_and_with_steps_of_two_signs(norm):
    classifier, image, label = tiny_network(4)
    least = exhaustive_minimum(classifier, image, "step", norm, step=0.8)
    assert math.isfinite(least)
    method = FeatureGuidedSearch(
        queries=12000, visits=60000, leaves=8, norm=norm, manipulation="step", step=0.8, **PLAIN
    )
    attacked = method.attack(classifier, image, label)
    assert attacked.distance.item() == pytest.approx(least, abs=1e-5)


def weighing(weights, threshold):
    """Two classes: the second as soon as the weights of white pixels sum to more than a threshold."""
    table = torch.tensor(weights)

    def scores(images):
        sums = (images[:, 0].flatten(1) * table).sum(1)
        return torch.stack([torch.full_like(sums, threshold), sums], 1)

    return Classifier(scores, class_names="ab"), torch.zeros(1, 3, 2, 3), torch.tensor([0])


@pytest.mark.covers("15.7")
def test_a_helper_finds_less_than_chance_and_chance_less_than_an_opponent():
    weights, threshold = (5.0, 1.0, 1.0, 2.0, 1.0, 3.0), 6.5
    classifier, image, label = weighing(weights, threshold)
    method = FeatureGuidedSearch(
        queries=2000, visits=6000, leaves=4, choice="uniform", manipulation="white", exploration=1.0, **PLAIN
    )
    value = {
        mode: method.model_copy(update={"second_player": mode}).attack(classifier, image, label).value.item()
        for mode in ("cooperative", "random", "adversarial")
    }
    # Solved by hand: orders of the six pixels, the game ends when the sum passes the threshold.
    ends = [int(np.argmax(np.cumsum(order) > threshold)) + 1 for order in itertools.permutations(weights)]
    assert (min(ends), max(ends)) == (2, 5)
    assert value["cooperative"] == pytest.approx(1 / 2)
    assert value["adversarial"] == pytest.approx(1 / 5)
    assert value["random"] == pytest.approx(np.mean([1 / end for end in ends]), rel=0.12)
    assert 1 / value["cooperative"] <= 1 / value["random"] <= 1 / value["adversarial"]


@pytest.mark.covers("15.5")
def test_reward_is_the_inverse_of_the_final_severity():
    # Confidence falls with every pixel and does not matter: half of the image has to change.
    classifier, image, label = weighing((1.0,) * 6, 3.5)
    method = FeatureGuidedSearch(queries=200, leaves=2, choice="uniform", manipulation="white", **PLAIN)
    assert method.attack(classifier, image, label).value.item() == pytest.approx(1 / 4)
    never, image, label = weighing((1.0,) * 6, 100.0)
    plain = method.attack(never, image, label)
    assert (plain.value.item(), plain.status) == (0, ("not found",))
    probable = Classifier(lambda x: never(x) * 0.05, class_names="ab")
    shaped = method.model_copy(update={"shaped": True, "second_player": "random", "visits": 40})
    assert 0 < shaped.attack(probable, image, label).value.item() <= 1 / 6
    assert FeatureGuidedSearch().shaped is False


@pytest.mark.parametrize("seed", [0, 1, 4])
def test_moves_of_two_pixels_give_way_to_single_ones_where_none_is_new(seed):
    classifier, image, label = tiny_network(seed, side=2)
    rules = {**PLAIN, "pixels": 2, "leaves": 4}
    attacked = FeatureGuidedSearch(queries=1500, visits=3000, **rules).attack(classifier, image, label)
    assert "visits" not in attacked.endings[0]
    changes = manipulated(image, "extreme", step=0.5)
    told = torch.tensor(list(itertools.product((0, *changes.instructions), repeat=4)), dtype=torch.int8)
    candidates = changes.candidates(torch.zeros(len(told), dtype=torch.int64), told)
    with torch.no_grad():
        adversarial = classifier.module(candidates).argmax(1) != 0
    assert bool(attacked.success) == bool(adversarial.any())
