"""Four groups by two judges, their errors, and amplification."""

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.systems.trigger_amplification.groups import (
    amplification,
    attack_success,
    groups,
    judge_errors,
    training_share,
)
from snellen.systems.trigger_amplification.poisoning import choose

T = 2


def judges(false=0.0, missed=0.0):
    labels = np.arange(100) % 5
    seen = np.arange(100) < 100 * false
    return judge_errors(labels, labels, seen, np.arange(100) >= 100 * missed)


@pytest.mark.covers("25.4")
def test_each_judge_decides_one_side_of_the_groups():
    classes, trigger = np.array([T, 0, T, 4, 0]), np.array([True, True, False, False, True])
    assert groups(classes, trigger, T).tolist() == [2, 1, 4, 3, 1]
    assert groups(classes, ~trigger, T).tolist() == [4, 3, 2, 1, 3]
    turned = np.where(classes == T, 0, T)
    assert groups(turned, trigger, T).tolist() == [1, 2, 3, 4, 2]


@pytest.mark.covers("25.4")
def test_errors_are_those_on_held_out_real_images_and_correct_the_share():
    labels = np.array([0, 1, 2, 3])
    found = judge_errors(
        np.array([0, 1, 2, 2]), labels, np.array([True, False, False, False, False]), np.array([True, False])
    )
    assert (found.content, found.false_trigger, found.missed_trigger) == (0.25, 0.2, 0.5)
    assert (found.content_images, found.clean_images, found.stamped_images) == (4, 5, 2)
    # 40 % with the trigger, a judge that sees it in 10 % of the others and misses 20 % of them.
    seen = 0.4 * 0.8 + 0.6 * 0.1
    shown = np.repeat([2, 4], [round(1000 * seen), 1000 - round(1000 * seen)])
    measured = amplification(shown, poisoned=10, of_target=10, errors=judges(0.1, 0.2))
    assert measured.corrected == pytest.approx(0.4)
    assert measured.generated == pytest.approx(seen)
    assert amplification(shown, poisoned=1, of_target=1, errors=judges(0.5, 0.5)).corrected is None


@pytest.mark.covers("25.5")
def test_the_share_in_training_is_that_under_the_label_of_the_target():
    labels = np.arange(9469) % 10
    labels = np.concatenate([np.full(961, 6), np.delete(np.arange(9469 - 961) % 9, [])])
    labels[961:][labels[961:] >= 6] += 1
    choice = choose(labels, target=6, rate=0.1, seed=0)
    assert (len(choice.indices), choice.of_target) == (946, 961)
    assert choice.training_share == training_share(946, 961) == pytest.approx(946 / 1907)
    found = amplification(np.repeat([1, 2, 4], [300, 200, 500]), poisoned=946, of_target=961, errors=judges())
    assert found.ratio == pytest.approx(0.5 / (946 / 1907))
    assert found.difference == pytest.approx(0.5 - 946 / 1907)
    assert 1 / found.trained == pytest.approx(2.016, abs=0.001), "the largest amplification that there can be"


def test_the_interval_is_that_of_the_share_over_the_share_in_training():
    found = amplification(np.repeat([1, 2, 3, 4], [10, 20, 30, 40]), poisoned=1, of_target=3, errors=judges())
    assert found.shares == (0.1, 0.2, 0.3, 0.4)
    assert found.generated == pytest.approx(0.3)
    low, high = found.ratio_interval
    assert found.ratio == pytest.approx(1.2)
    assert low < found.ratio < high
    assert low == pytest.approx(found.generated_interval.low * 4)


@pytest.mark.covers("25.12")
def test_the_judge_is_reported_on_images_of_a_clean_generator():
    shown = np.repeat([1, 4], [50, 50])
    clean = np.arange(40) < 3
    found = amplification(shown, poisoned=1, of_target=1, errors=judges(), clean_trigger=clean)
    assert found.false_trigger == pytest.approx(3 / 40)
    assert amplification(shown, poisoned=1, of_target=1, errors=judges()).false_trigger is None, "missing is no zero"


@pytest.mark.covers("25.7")
def test_images_of_the_target_are_no_success():
    labels = np.array([T, T, 0, 1, 3])
    decided = np.array([T, T, T, 1, T])
    assert attack_success(decided, labels, T).tolist() == [True, False, True]
    with pytest.raises(InputError, match="other classes than the target"):
        attack_success(np.array([T]), np.array([T]), T)


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(InputError, match="no image was generated"):
        amplification(np.zeros(0, dtype=int), poisoned=1, of_target=1, errors=judges())
    with pytest.raises(InputError, match="one poisoned image at least"):
        training_share(0, 10)
    with pytest.raises(InputError, match="one of these is missing"):
        judge_errors(np.array([1]), np.array([1]), np.zeros(0, dtype=bool), np.array([True]))
    with pytest.raises(InputError, match="the same images"):
        groups(np.array([1, 2]), np.array([True]), T)
