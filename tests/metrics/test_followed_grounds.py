"""Decisions that follow what is behind the object are found; decisions that only suffer before it are not."""

import numpy as np
import pytest

from snellen.metrics.followed_grounds import FollowedGrounds

PAIRS, GROUNDS, RUNS = 600, 64, 60


def found(kind, classes, seed):
    rng = np.random.default_rng(seed)
    labels, grounds = np.repeat(rng.integers(0, classes, PAIRS // 4), 4), rng.integers(0, GROUNDS, PAIRS)
    hard, own = rng.random(GROUNDS) < 0.3, rng.integers(0, classes, GROUNDS)
    wrong = rng.random(PAIRS) < np.where(hard[grounds], 0.5, 0.05)
    if kind == "that of the ground":
        wrong = rng.random(PAIRS) < 0.5
    other = {
        "any class": rng.integers(0, classes, PAIRS),
        "one class that it falls back to": np.where(rng.random(PAIRS) < 0.4, 1, rng.integers(0, classes, PAIRS)),
        "the class that it is confused with": (labels + 1) % classes,
        "that of the ground": own[grounds],
    }[kind]
    return FollowedGrounds.of(labels, np.where(wrong, other, labels), grounds, np.arange(PAIRS) // 4, classes)


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("kind", ["any class", "one class that it falls back to", "the class that it is confused with"])
def test_hard_grounds_are_no_shortcut(kind, classes):
    refused = [found(kind, classes, seed).p_value <= 0.05 for seed in range(RUNS)]
    assert np.mean(refused) <= 0.12, "of 60 runs at a level of 5 %, more than 7 come once in 100 times"


@pytest.mark.parametrize(("classes", "least"), [(2, 0.5), (10, 0.95)])
def test_grounds_that_are_followed_are_found(classes, least):
    several = [found("that of the ground", classes, seed) for seed in range(RUNS)]
    assert np.mean([one.p_value <= 0.05 for one in several]) >= least
    assert all((one.follows <= one.informative).all() for one in several)
    assert np.mean([(one.follows - one.expected).mean() for one in several]) > 0.02


def test_the_class_of_a_ground_is_learned_from_other_pairs():
    labels, decisions, grounds = np.array([0, 1, 0, 1]), np.array([1, 1, 0, -1]), np.array([0, 0, 1, 1])
    one = FollowedGrounds.of(labels, decisions, grounds, np.arange(4), 2)
    assert one.ground_class.tolist() == [1, 1, -1, 0], "nothing but the pair itself is no class"
    assert one.informative.tolist() == [True, False, False, True]
    assert one.follows.tolist() == [True, False, False, False], "no decision follows nothing"
